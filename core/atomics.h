/* Words, changed atomically only while the process has more than one thread.
 *
 * An atomic read-modify-write costs some 20 cycles even uncontended, and refill and spill are made
 * of them. glibc says through __libc_single_threaded that no second thread exists; pthread_create
 * clears it before the second one can run, and a thread that reads "single" cannot be inside one of
 * these functions at that moment, since it is the one that calls pthread_create.
 * All orders are sequentially consistent: the protocols rely on "set mine, then look at the
 * other's".
 */
#ifndef LOWTIDE_CORE_ATOMICS_H
#define LOWTIDE_CORE_ATOMICS_H

#include "types.h"

#include <sys/single_threaded.h>

#define relaxed_load(p)     atomic_load_explicit((p), memory_order_relaxed)
#define acquire_load(p)     atomic_load_explicit((p), memory_order_acquire)
#define relaxed_store(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)

static inline bool is_single_threaded(void) { return __libc_single_threaded; }

static inline uint64_t word_or(word *w, uint64_t bits) {
    if (is_single_threaded()) {
        uint64_t old = relaxed_load(w);
        relaxed_store(w, old | bits);
        return old;
    }
    return atomic_fetch_or(w, bits);
}

static inline uint64_t word_clear(word *w, uint64_t bits) {
    if (is_single_threaded()) {
        uint64_t old = relaxed_load(w);
        relaxed_store(w, old & ~bits);
        return old;
    }
    return atomic_fetch_and(w, ~bits);
}

static inline int64_t count_add(_Atomic(int64_t) *counter, int64_t n) {
    if (is_single_threaded()) {
        int64_t sum = relaxed_load(counter) + n;
        relaxed_store(counter, sum);
        return sum;
    }
    return atomic_fetch_add_explicit(counter, n, memory_order_relaxed) + n;
}

static inline bool state_change(_Atomic(uint32_t) *state, uint32_t from, uint32_t to) {
    if (is_single_threaded()) {
        if (relaxed_load(state) != from) return false;
        relaxed_store(state, to);
        return true;
    }
    return atomic_compare_exchange_strong(state, &from, to);
}

static inline void state_store(_Atomic(uint32_t) *state, uint32_t to) {
    if (is_single_threaded())
        relaxed_store(state, to);
    else
        atomic_store(state, to);
}

static inline unsigned lowest_bit(uint64_t w) { return (unsigned)__builtin_ctzll(w); }
static inline unsigned highest_bit(uint64_t w) { return 63u - (unsigned)__builtin_clzll(w); }
static inline unsigned count_bits(uint64_t w) { return (unsigned)__builtin_popcountll(w); }
/* n bits from bit `from` on; n = 64 is allowed when from is 0. */
static inline uint64_t bit_run(unsigned from, unsigned n) {
    return (n >= 64 ? ~0ull : (1ull << n) - 1) << from;
}

#endif
