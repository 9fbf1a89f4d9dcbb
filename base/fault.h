/* fault.h - the seam through which tests make fallible calls fail.
 *
 * Torture mode: td_fault_arm(kind, n) lets the n-th call of that kind fail (and every later one when `sticky`); a test
 * repeats with n = 1, 2, … until nothing failed. Unarmed it is one relaxed load. Any thread. */
#ifndef TD_BASE_FAULT_H
#define TD_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum td_fault_kind {
    TD_FAULT_ALLOC, TD_FAULT_READ, TD_FAULT_WRITE,
    TD_FAULT_DEVICE, // a step on the device: it is lost
    TD_FAULT_KINDS
} td_fault_kind;

bool td_fault_hit(td_fault_kind kind); // true: the caller must fail now
void td_fault_arm(td_fault_kind kind, uint64_t nth, bool sticky); // nth 0 disarms
uint64_t td_fault_count(td_fault_kind kind); // failures injected since it was armed

#endif
