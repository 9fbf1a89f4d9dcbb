/* gpu_dev.h - a kern_dev on a GPU: one card, one stream for steps, one for loading.
 *
 * Compiled twice, for the card (`cuda_dev_open`) and for the emulator (`emu_dev_open`). The device belongs to one
 * engine; operations come from one thread at a time, put() and weight_pack() from any. What fails after opening is
 * remembered and told by fault(): the first error, with the operation that saw it. */
#ifndef TD_KERNELS_CUDA_GPU_DEV_H
#define TD_KERNELS_CUDA_GPU_DEV_H

#include "kernels/kernels.h"

enum { GPU_SM_MIN = 80 };

/* TD_E_DEVICE where there is no driver, no card, or an older one than compute capability 8.0; says which. */
td_rc cuda_dev_open(kern_dev **out, td_err *err);
td_rc emu_dev_open(kern_dev **out, td_err *err);

#endif
