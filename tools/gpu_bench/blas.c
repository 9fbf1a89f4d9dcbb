/* cuBLASLt, loaded at run time: the yardstick. The best of the algorithms that its heuristic offers. */
#include "tools/gpu_bench/gbench.h"

#ifdef TD_EMU
double blas_time(gbench *b, int32_t rows, int32_t cols, int32_t toks)
{
    (void)b, (void)rows, (void)cols, (void)toks;
    return 0;
}
#else
#include "base/check.h"

#include <cublasLt.h>
#include <dlfcn.h>

enum { ALGOS = 8, WORKSPACE = 64 << 20 };

#define FUNCTIONS(X)                                                                                          \
    X(cublasLtCreate) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic)   \
    X(cublasLtMatmul)

static struct {
#define X(f) __typeof__(&f) f;
    FUNCTIONS(X)
#undef X
    cublasLtHandle_t handle;
    void *workspace;
    bool tried, there;
} lt;

static bool load(gbench *b)
{
    if (lt.tried)
        return lt.there;
    lt.tried = true;
    void *so = dlopen("libcublasLt.so.13", RTLD_NOW);
    so = so ? so : dlopen("libcublasLt.so", RTLD_NOW);
    if (!so)
        return false;
#define X(f) *(void **)&lt.f = dlsym(so, #f);
    FUNCTIONS(X)
#undef X
#define X(f) if (!lt.f) return false;
    FUNCTIONS(X)
#undef X
    lt.workspace = gbench_zeros(b, WORKSPACE);
    return lt.there = lt.cublasLtCreate(&lt.handle) == CUBLAS_STATUS_SUCCESS;
}

typedef struct blas_call {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, out;
    void *weights[SETS_MAX], *tokens, *result;
    const cublasLtMatmulAlgo_t *algo;
    bool bad;
} blas_call;

static void multiply(gbench *b, void *ctx, int set)
{
    blas_call *c = ctx;
    float one = 1, zero = 0;
    c->bad |= lt.cublasLtMatmul(lt.handle, c->desc, &one, c->weights[set], c->w, c->tokens, c->x, &zero, c->result,
                                c->out, c->result, c->out, c->algo, lt.workspace, WORKSPACE,
                                (cudaStream_t)(void *)b->stream) != CUBLAS_STATUS_SUCCESS;
}

/* In the library's column-major words: out [rows x toks] = w^T [rows x cols] * x [cols x toks]. */
static int describe(blas_call *c, int32_t rows, int32_t cols, int32_t toks, cublasLtMatmulHeuristicResult_t *found)
{
    cublasOperation_t trans = CUBLAS_OP_T;
    cublasLtMatmulPreference_t pref;
    size_t room = WORKSPACE;
    int count = 0;
    lt.cublasLtMatmulDescCreate(&c->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    lt.cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_TRANSA, &trans, sizeof trans);
    lt.cublasLtMatrixLayoutCreate(&c->w, CUDA_R_16BF, (uint64_t)cols, (uint64_t)rows, cols);
    lt.cublasLtMatrixLayoutCreate(&c->x, CUDA_R_16BF, (uint64_t)cols, (uint64_t)toks, cols);
    lt.cublasLtMatrixLayoutCreate(&c->out, CUDA_R_32F, (uint64_t)rows, (uint64_t)toks, rows);
    lt.cublasLtMatmulPreferenceCreate(&pref);
    lt.cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room);
    if (lt.cublasLtMatmulAlgoGetHeuristic(lt.handle, c->desc, c->w, c->x, c->out, c->out, pref, ALGOS, found, &count))
        return 0;
    return count;
}

double blas_time(gbench *b, int32_t rows, int32_t cols, int32_t toks)
{
    blas_call c = {0};
    cublasLtMatmulHeuristicResult_t found[ALGOS];
    if (!load(b))
        return 0;
    int algos = describe(&c, rows, cols, toks, found);
    size_t bytes = (size_t)rows * (size_t)cols * 2;
    int sets = gbench_sets(b, bytes);
    for (int i = 0; i < sets; i++)
        c.weights[i] = gbench_noise(b, bytes);
    c.tokens = gbench_noise(b, (size_t)toks * (size_t)cols * 2);
    c.result = gbench_zeros(b, (size_t)toks * (size_t)rows * 4);
    double best = 0;
    for (int i = 0; i < TD_MIN(algos, 3); i++) {
        c.algo = &found[i].algo;
        c.bad = false;
        double s = gbench_time(b, multiply, &c, sets);
        if (!c.bad && s > 0 && (best == 0 || s < best))
            best = s;
    }
    for (int i = 0; i < sets; i++)
        gbench_free(c.weights[i]);
    gbench_free(c.tokens);
    gbench_free(c.result);
    return best;
}
#endif
