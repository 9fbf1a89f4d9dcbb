/* A program with the CUDA back end in it starts on a machine without a driver, and says what is missing. */
#include "kernels/cuda/gpu_rt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_says_what_is_missing(void **state)
{
    (void)state;
    int32_t count = -1, rc = cuda_rt_count(&count);
    if (rc == GPU_OK) {
        assert_true(count >= 0);
        return;
    }
    assert_int_equal(count, 0);
    assert_true(rc == GPU_E_NO_DRIVER || rc == GPU_E_NO_DEVICE);
    assert_non_null(strstr(cuda_rt_error_name(rc), "cudaError"));
    void *p = NULL;
    assert_true(cuda_rt_malloc(16, &p) != GPU_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_says_what_is_missing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
