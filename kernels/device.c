#include "kernels/device.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/threads.h"
#include "kernels/cuda/gpu_dev.h"

#include <cpuid.h>
#include <string.h>

/* F16C by CPUID itself, since clang 14 has no name for it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

static bool is_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           has_f16c();
}

static td_rc open_cuda(kern_dev **out, td_err *err)
{
#ifdef TD_CUDA
    return cuda_dev_open(out, err);
#else
    (void)out;
    return td_fail_param(err, TD_E_DEVICE, "device", "this tandem was built without CUDA; it has: auto cpu emu");
#endif
}

td_rc kern_dev_open(const kern_dev_opts *o, kern_dev **out, td_err *err)
{
    const char *device = o->device ? o->device : "auto", *isa = o->cpu_isa ? o->cpu_isa : "auto";
    if (strcmp(device, "emu") == 0)
        return emu_dev_open(out, err);
    if (strcmp(device, "cuda") == 0)
        return open_cuda(out, err);
    if (strcmp(device, "auto") == 0 && open_cuda(out, NULL) == TD_OK)
        return TD_OK;
    if (strcmp(device, "auto") != 0 && strcmp(device, "cpu") != 0)
        return td_fail_param(err, TD_E_DEVICE, "device", "no device '%s'; there are: auto cpu cuda emu", device);
    if (!is_v3())
        return td_fail(err, TD_E_DEVICE, "this CPU lacks AVX2, FMA, F16C or BMI2; x86-64-v3 is needed");
    if (o->threads < 0 || o->threads > TD_THREADS_MAX)
        return td_fail_param(err, TD_E_USAGE, "threads", "%d compute threads; 0 to %d are possible", o->threads,
                             TD_THREADS_MAX);
    return cpu_dev_open(isa, o->threads ? o->threads : kern_thread_default(), out, err);
}

void kern_dev_close(kern_dev *dev)
{
    if (dev)
        dev->ops->close(dev);
}

td_rc kern_dev_settle(kern_dev *dev, td_err *err)
{
    dev->ops->wait(dev, dev->ops->mark(dev));
    const char *fault = dev->ops->fault ? dev->ops->fault(dev) : NULL;
    return fault ? td_fail(err, TD_E_FAULT, "the device is lost: %s", fault) : TD_OK;
}

void kern_dev_describe(td_buf *out)
{
    if (!is_v3()) {
        td_buf_str(out, "none");
        return;
    }
    const cpu_level *levels[CPU_LEVELS_MAX];
    int count = cpu_levels(levels);
    for (int i = 1; i < count; i++)
        td_buf_fmt(out, "%s%s", i > 1 ? " " : "", levels[i]->name);
    if (__builtin_cpu_supports("avx512bf16"))
        td_buf_str(out, " avx512bf16");
}

void kern_dev_names(td_buf *out)
{
    kern_dev *dev = NULL;
    bool cuda = open_cuda(&dev, NULL) == TD_OK;
    kern_dev_close(dev);
    td_buf_fmt(out, "%s%semu", is_v3() ? "cpu " : "", cuda ? "cuda " : "");
}

int32_t kern_thread_default(void) { return cpu_threads_default(""); }
