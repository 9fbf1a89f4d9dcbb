/* device.h - chooses and opens a back end.
 *
 * A kern_dev belongs to one engine; its operations are called from one thread at a time. TD_E_DEVICE when the machine
 * lacks what was asked for, naming what it has. */
#ifndef TD_KERNELS_DEVICE_H
#define TD_KERNELS_DEVICE_H

#include "base/buf.h"
#include "kernels/kernels.h"

typedef struct kern_dev_opts {
    const char *device;   // "auto" (a GPU where there is one), "cpu", "cuda", "emu" (CUDA kernels in an emulator)
    const char *cpu_isa;  // "auto", or a lower level: "ref", "avx2", "avx512", "avx512vnni"
    int32_t threads;      // 0: as many as physical cores, affinity and cgroup quota leave
} kern_dev_opts;

td_rc kern_dev_open(const kern_dev_opts *o, kern_dev **out, td_err *err);
void kern_dev_close(kern_dev *dev);
/* Waits for everything that was queued. TD_E_FAULT with the reason where the device is lost. */
td_rc kern_dev_settle(kern_dev *dev, td_err *err);
/* What this machine has, for `version` and `inspect`: "avx2 avx512 avx512vnni avx512bf16". */
void kern_dev_describe(td_buf *out);
/* The values of kern_dev_opts.device that would open here: "cpu cuda emu". */
void kern_dev_names(td_buf *out);
int32_t kern_thread_default(void);

#endif
