/* race.c - stand-in */
#include "kernels/emu/int.h"
#include "base/arena.h"
bool emu_checking;
void emu_set_checks(bool on) { emu_checking = on && emu_has_checks();
}
bool emu_has_checks(void) { return false;
}
void emu_copy_access(const emu_when *w, const void *at, size_t bytes, bool write, const char *what)
{
    (void)w;
    (void)at;
    (void)bytes;
    (void)write;
    (void)what;
}
void emu_when_name(uint32_t id, uint32_t stream, uint32_t seq, const char *what)
{
    (void)id;
    (void)stream;
    (void)seq;
    (void)what;
}
bool emu_access(const void *at, size_t bytes, bool write, int kind, const void *pc)
{
    (void)at;
    (void)bytes;
    (void)write;
    (void)kind;
    (void)pc;
    return true;
}
void emu_time_release(emu_fiber *f, emu_time *t)
{
    (void)f;
    (void)t;
}
void emu_time_acquire(emu_fiber *f, const emu_time *t)
{
    (void)f;
    (void)t;
}
void emu_time_drop(emu_time *t) { td_free(t->clock); t->clock = 0;
}
void emu_time_warp(emu_block *b, uint32_t warp, uint32_t mask)
{
    (void)b;
    (void)warp;
    (void)mask;
}
void emu_time_block(emu_block *b) { b->epoch = ++b->group->worker->epoch;
}
