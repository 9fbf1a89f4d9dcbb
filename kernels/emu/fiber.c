/* fiber.c - fibers: a stack each and a switch of a dozen instructions.
 *
 * The switch saves what the ABI lets a callee keep and nothing else: no signal mask (that is a system call), no
 * floating-point control (all fibers of a worker run under the same). Stacks come from mmap with an unusable page
 * below each, so that running over the end is a crash at the place and not silent damage. Fibers are reused: one that
 * finished its kernel waits in its main loop for the next. */
#include "kernels/emu/int.h"

#include "base/arena.h"
#include "base/err.h"

#include <string.h>
#include <sys/mman.h>

#ifdef EMU_ASAN
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 256 * 1024 }; // its frames are larger
#else
enum { STACK_BYTES = 64 * 1024 };
#endif

enum { COLOURS = 63 };

_Thread_local emu_fiber *emu_cur;

/* void emu_switch(void **save, void *load): pushes the callee-saved registers, exchanges the stack pointers, pops. */
void emu_switch(void **save, void *load);

#if defined(__x86_64__)
__asm__(".text\n.p2align 4\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,@function\nemu_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    popq %rcx\n    jmpq *%rcx\n" // a ret would be predicted wrong
        ".size emu_switch,.-emu_switch\n");
enum { ENTRY_WORD = 6, FRAME_WORDS = 8 };
#elif defined(__aarch64__)
__asm__(".text\n.p2align 4\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,%function\nemu_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n    ret\n.size emu_switch,.-emu_switch\n");
enum { ENTRY_WORD = 11, FRAME_WORDS = 20 };
#else
#error "the emulator's fiber switch is written for x86-64 and aarch64"
#endif

static void switch_begin(void **fake, const void *bottom, size_t bytes)
{
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(fake, bottom, bytes);
#else
    (void)fake;
    (void)bottom;
    (void)bytes;
#endif
}

static void switch_end(void *fake, const void **bottom, size_t *bytes)
{
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(fake, bottom, bytes);
#else
    (void)fake;
    (void)bottom;
    (void)bytes;
#endif
}

void emu_fiber_yield(void)
{
    emu_fiber *f = emu_cur;
    emu_worker *w = f->worker;
    switch_begin(&f->fake_stack, w->sched_stack, w->sched_stack_bytes);
    emu_switch(&f->sp, w->sched_sp);
    switch_end(f->fake_stack, &w->sched_stack, &w->sched_stack_bytes);
}

void emu_fiber_resume(emu_fiber *f)
{
    emu_worker *w = f->worker;
    emu_cur = f;
    switch_begin(&w->sched_fake, f->stack_lo, STACK_BYTES);
    emu_switch(&w->sched_sp, f->sp);
    switch_end(w->sched_fake, NULL, NULL);
    emu_cur = NULL;
}

void emu_fiber_block(emu_state state, const char *what, const char *file, int line)
{
    emu_fiber *f = emu_cur;
    f->state = state;
    f->what = what;
    f->file = file;
    f->line = line;
    emu_fiber_yield();
}

static void fiber_main(void)
{
    emu_worker *w = emu_cur->worker;
    switch_end(NULL, &w->sched_stack, &w->sched_stack_bytes);
    for (;;) {
        const emu_launch_op *op = emu_cur->block->group->op;
        op->run(op->args);
        emu_fiber_exited(emu_cur);
        emu_cur->state = EMU_DONE;
        emu_fiber_yield();
    }
}

static void fiber_prepare(emu_fiber *f)
{
    // Stacks lie 17 pages apart; their ends must not all fall on the same lines of the cache.
    char *top = f->stack_hi - f->worker->fiber_count++ % COLOURS * 64;
    void **sp = (void **)(void *)top - FRAME_WORDS;
    memset(sp, 0, FRAME_WORDS * sizeof *sp);
    void (*entry)(void) = fiber_main;
    memcpy(&sp[ENTRY_WORD], &entry, sizeof entry);
    f->sp = sp;
}

emu_fiber *emu_fiber_take(emu_worker *w)
{
    emu_fiber *f = w->free_fibers;
    if (f) {
        w->free_fibers = f->next_free;
        return f;
    }
    f = emu_alloc(sizeof *f);
    char *base = mmap(NULL, STACK_BYTES + EMU_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    td_assert(base != MAP_FAILED && mprotect(base, EMU_PAGE, PROT_NONE) == 0);
    f->stack_lo = base + EMU_PAGE;
    f->stack_hi = f->stack_lo + STACK_BYTES;
    f->worker = w;
    fiber_prepare(f);
    return f;
}

void emu_fiber_give(emu_fiber *f)
{
    f->next_free = f->worker->free_fibers;
    f->worker->free_fibers = f;
}
