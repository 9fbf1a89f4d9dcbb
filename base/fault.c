#include "base/fault.h"

#include <stdatomic.h>

typedef struct fault_state {
    atomic_ullong left; // calls until the failing one; 0 = unarmed
    atomic_ullong hits;
    atomic_bool sticky;
} fault_state;

static fault_state faults[TD_FAULT_KINDS];

bool td_fault_hit(td_fault_kind kind)
{
    fault_state *f = &faults[kind];
    if (atomic_load_explicit(&f->left, memory_order_relaxed) == 0)
        return false;
    bool sticky = atomic_load(&f->sticky);
    unsigned long long left = atomic_load(&f->left);
    do {
        if (left == 0)
            return false;
        if (left == 1 && sticky)
            break; // stays armed at its last call
    } while (!atomic_compare_exchange_weak(&f->left, &left, left - 1));
    if (left != 1)
        return false;
    atomic_fetch_add(&f->hits, 1);
    return true;
}

void td_fault_arm(td_fault_kind kind, uint64_t nth, bool sticky)
{
    atomic_store(&faults[kind].hits, 0);
    atomic_store(&faults[kind].sticky, sticky);
    atomic_store(&faults[kind].left, nth);
}

uint64_t td_fault_count(td_fault_kind kind) { return atomic_load(&faults[kind].hits); }
