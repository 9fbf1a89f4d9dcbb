/* ptx_wgmma.cuh - wgmma for the widths that kernels use, N = 8 ... 256: D[64][N] += A[64][16] B[N][16]^T, fp32. Lane
 * 4g + t of warp w holds in d[4j ... 4j + 3] the columns 8j + 2t, 8j + 2t + 1 of rows 16w + g and 16w + g + 8. Included
 * by ptx_asm.cuh. */
#ifndef TD_KERNELS_CUDA_PTX_WGMMA_CUH
#define TD_KERNELS_CUDA_PTX_WGMMA_CUH

#define TD_L0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TD_L1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define TD_L2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define TD_L3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define TD_L4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define TD_L5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define TD_L6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define TD_L7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define TD_L8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define TD_L9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define TD_L10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define TD_L11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define TD_L12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define TD_L13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define TD_L14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define TD_L15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define TD_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define TD_D8(i) TD_D4(i), TD_D4(i + 4)
#define TD_LIST8 \
    "%0, %1, %2, %3"
#define TD_OUT8 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define TD_LIST16 \
    TD_L0
#define TD_OUT16 \
    TD_D8(0)
#define TD_LIST32 \
    TD_L0 ", " TD_L1
#define TD_OUT32 \
    TD_D8(0), TD_D8(8)
#define TD_LIST64 \
    TD_L0 ", " TD_L1 ", " TD_L2 ", " TD_L3
#define TD_OUT64 \
    TD_D8(0), TD_D8(8), TD_D8(16), TD_D8(24)
#define TD_LIST96 \
    TD_L0 ", " TD_L1 ", " TD_L2 ", " TD_L3 ", " TD_L4 ", " TD_L5
#define TD_OUT96 \
    TD_D8(0), TD_D8(8), TD_D8(16), TD_D8(24), TD_D8(32), TD_D8(40)
#define TD_LIST128 \
    TD_L0 ", " TD_L1 ", " TD_L2 ", " TD_L3 ", " TD_L4 ", " TD_L5 ", " TD_L6 ", " TD_L7
#define TD_OUT128 \
    TD_D8(0), TD_D8(8), TD_D8(16), TD_D8(24), TD_D8(32), TD_D8(40), TD_D8(48), TD_D8(56)
#define TD_LIST192 \
    TD_L0 ", " TD_L1 ", " TD_L2 ", " TD_L3 ", " TD_L4 ", " TD_L5 ", " TD_L6 ", " TD_L7 ", " TD_L8 ", " \
    TD_L9 ", " TD_L10 ", " TD_L11
#define TD_OUT192 \
    TD_D8(0), TD_D8(8), TD_D8(16), TD_D8(24), TD_D8(32), TD_D8(40), TD_D8(48), TD_D8(56), TD_D8(64), \
    TD_D8(72), TD_D8(80), TD_D8(88)
#define TD_LIST256 \
    TD_L0 ", " TD_L1 ", " TD_L2 ", " TD_L3 ", " TD_L4 ", " TD_L5 ", " TD_L6 ", " TD_L7 ", " TD_L8 ", " \
    TD_L9 ", " TD_L10 ", " TD_L11 ", " TD_L12 ", " TD_L13 ", " TD_L14 ", " TD_L15
#define TD_OUT256 \
    TD_D8(0), TD_D8(8), TD_D8(16), TD_D8(24), TD_D8(32), TD_D8(40), TD_D8(48), TD_D8(56), TD_D8(64), \
    TD_D8(72), TD_D8(80), TD_D8(88), TD_D8(96), TD_D8(104), TD_D8(112), TD_D8(120)

#define TD_WGMMA_HEAD(S) "{\n.reg .pred p;\nsetp.ne.b32 p, %" S ", 0;\nwgmma.mma_async.sync.aligned.m64n"
// A, B, S, TA, TB, A0 ... : numbers of the operands behind the N / 2 results
#define TD_SS(N, A, B, S, TA, TB)                                                                                  \
    asm volatile(TD_WGMMA_HEAD(S) #N "k16.f32.bf16.bf16 {" TD_LIST##N "}, %" A ", %" B ", p, 1, 1, %" TA ", %" TB  \
                 ";\n}" : TD_OUT##N : "l"(a), "l"(b), "r"(scale_d), "n"(TRANS_A), "n"(TRANS_B))
#define TD_RS(N, A0, A1, A2, A3, B, S, TB)                                                                         \
    asm volatile(TD_WGMMA_HEAD(S) #N "k16.f32.bf16.bf16 {" TD_LIST##N "}, {%" A0 ", %" A1 ", %" A2 ", %" A3 "}, %" B \
                 ", p, 1, 1, %" TB ";\n}"                                                                          \
                 : TD_OUT##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(scale_d), "n"(TRANS_B))
#define TD_SS8(N, A, B, S)                                                                          \
    asm volatile(TD_WGMMA_HEAD(S) #N "k32.f32.e4m3.e4m3 {" TD_LIST##N "}, %" A ", %" B ", p, 1, 1;\n}" \
                 : TD_OUT##N : "l"(a), "l"(b), "r"(scale_d))

/* scale_d: 0 forgets what d held. TRANS: the operand lies with k as rows. */
template <int N, int TRANS_A = 0, int TRANS_B = 0>
TD_ASM void td_wgmma_bf16_ss(float (&d)[N / 2], uint64_t a, uint64_t b, int scale_d)
{
    if constexpr (N == 8)
        TD_SS(8, "4", "5", "6", "7", "8");
    else if constexpr (N == 16)
        TD_SS(16, "8", "9", "10", "11", "12");
    else if constexpr (N == 32)
        TD_SS(32, "16", "17", "18", "19", "20");
    else if constexpr (N == 64)
        TD_SS(64, "32", "33", "34", "35", "36");
    else if constexpr (N == 96)
        TD_SS(96, "48", "49", "50", "51", "52");
    else if constexpr (N == 128)
        TD_SS(128, "64", "65", "66", "67", "68");
    else if constexpr (N == 192)
        TD_SS(192, "96", "97", "98", "99", "100");
    else if constexpr (N == 256)
        TD_SS(256, "128", "129", "130", "131", "132");
    else
        static_assert(N == 8, "a width of the list above");
}

template <int N, int TRANS_B = 0>
TD_ASM void td_wgmma_bf16_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int scale_d)
{
    if constexpr (N == 8)
        TD_RS(8, "4", "5", "6", "7", "8", "9", "10");
    else if constexpr (N == 16)
        TD_RS(16, "8", "9", "10", "11", "12", "13", "14");
    else if constexpr (N == 32)
        TD_RS(32, "16", "17", "18", "19", "20", "21", "22");
    else if constexpr (N == 64)
        TD_RS(64, "32", "33", "34", "35", "36", "37", "38");
    else if constexpr (N == 96)
        TD_RS(96, "48", "49", "50", "51", "52", "53", "54");
    else if constexpr (N == 128)
        TD_RS(128, "64", "65", "66", "67", "68", "69", "70");
    else if constexpr (N == 192)
        TD_RS(192, "96", "97", "98", "99", "100", "101", "102");
    else if constexpr (N == 256)
        TD_RS(256, "128", "129", "130", "131", "132", "133", "134");
    else
        static_assert(N == 8, "a width of the list above");
}

template <int N> TD_ASM void td_wgmma_e4m3_ss(float (&d)[N / 2], uint64_t a, uint64_t b, int scale_d)
{
    if constexpr (N == 8)
        TD_SS8(8, "4", "5", "6");
    else if constexpr (N == 16)
        TD_SS8(16, "8", "9", "10");
    else if constexpr (N == 32)
        TD_SS8(32, "16", "17", "18");
    else if constexpr (N == 64)
        TD_SS8(64, "32", "33", "34");
    else if constexpr (N == 96)
        TD_SS8(96, "48", "49", "50");
    else if constexpr (N == 128)
        TD_SS8(128, "64", "65", "66");
    else if constexpr (N == 192)
        TD_SS8(192, "96", "97", "98");
    else if constexpr (N == 256)
        TD_SS8(256, "128", "129", "130");
    else
        static_assert(N == 8, "a width of the list above");
}

TD_ASM void td_wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
TD_ASM void td_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> TD_ASM void td_wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

#endif
