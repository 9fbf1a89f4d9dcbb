/* kv_move.h - the table's kv_pack and kv_unpack for a CPU. Not on the way of a step: plain loops, calling thread. */
#ifndef TD_KERNELS_CPU_KV_MOVE_H
#define TD_KERNELS_CPU_KV_MOVE_H

#include "kernels/kernels.h"

void cpu_kv_pack(kern_dev *dev, const kern_kv_move_args *a);
void cpu_kv_unpack(kern_dev *dev, const kern_kv_move_args *a);

#endif
