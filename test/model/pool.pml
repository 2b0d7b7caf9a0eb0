/*
 * pool.pml -- exhaustive model of the lock-free pool protocol of core/pool.c
 *
 * WHAT IS MODELLED
 *   One arena slot of POOLS pages.  A page is either a whole free page, with
 *   its bit in `claimable', or a pool: equal blocks of one class, with a
 *   bitmap of free blocks in an out-of-line descriptor that is never unmapped.
 *   Class A has two blocks in a pool, class B one.  THREADS threads do OPS
 *   operations each, chosen freely: refill A, refill B, return any block that
 *   the application holds (also one that another thread took), release a free
 *   page, unmap the arena.  A refill that finds the slot empty maps it again.
 *
 *   Every shared access of the C code is one step here, and every step holds
 *   at most one shared access; an atomic{} below joins that one access (a
 *   load, a store, or a read-modify-write) with local choices and with the
 *   ghost variables only.  All C accesses are seq_cst, so interleaving is all
 *   there is to explore.  Exception: an owner's loads of class and pagemap in
 *   pool_return are joined with its fetch_or, because nobody may write them
 *   while a block is held (asserted in pool_retire and pool_begin).
 *
 *   The run begins in ANY state that the quiescence check at the end allows
 *   (START_ANY, the default): full, partial and free pools, a LISTED pool that
 *   has nothing free, stale hints, an unmapped arena.  So the result is an
 *   induction: a bounded burst of concurrent work that begins at rest ends at
 *   rest.  -DSTART_FRESH begins with an empty slot instead.
 *
 *   -DTWICE: a thread may also return a block that another returns, too (one
 *   such mistake at a time).  It finds the page in use, and sets the bit later.
 *
 *   Symmetry: threads, pools, and the two blocks of a full or unused class A
 *   pool are alike, so of runs that differ in their numbering one is explored.
 *
 *   Not modelled: fork, more than one arena (the summary word is one bit per
 *   class), memory orders weaker than seq_cst, the failure of system calls.
 *
 * CORRESPONDENCE WITH core/pool.c              labels
 *   hint_set, hint_clear                       inlines of the same name
 *   pool_take      (refill from a partial)     take, next, stale, lease, grab
 *   pool_claim     (free page -> pool)         claim, claimed
 *   arena_map      (fill the slot again)       amap
 *   pool_return    (any thread, any time)      give; pool_tend: given, relist
 *   pool_unlease                               unlease, some, none, recheck
 *   pool_retire    (pool -> free page)         retire
 *   arena_release  (madvise a free page)       arelease
 *   arena_unmap    (the whole slot)            aunmap, gotall
 *
 * WHAT IS PROVED (assertions, and no thread ever blocks)
 *   - a block has at most one owner; a returned block was not free already;
 *   - a block is taken only from a mapped page whose descriptor and pagemap
 *     carry the class asked for, and only under the lease;
 *   - no page is retired, claimed, released or unmapped with a block held;
 *   - LEASED has one holder: what he stores over is always LEASED;
 *   - at rest: nothing is LEASED; a LISTED pool has its hint and the hint its
 *     summary; a FULL pool has nothing free; a pool with all blocks free is
 *     FREE and claimable; claimable <=> FREE and mapped;
 *   - who returns a block twice finds its bit set, unless the block was taken
 *     again meanwhile, its page begun for another class, or the arena unmapped,
 *     which zeroes the bitmaps.
 *
 * THINGS THE MODEL SAYS ABOUT THE C CODE
 *   - A refill that cleared a stale hint must set it again when it then reads
 *     LISTED *or LEASED* of its class: a leaseholder in pool_unlease may have
 *     set the hint before the clear and store LISTED after the second look.
 *     (MUT_STALE_IGNORES_LEASED is the version without that.)
 *   - A LISTED pool may have nothing free: a late pool_return can turn a pool
 *     that has been filled again from FULL to LISTED.  pool_take must accept
 *     zero free bits under the lease, un-lease (-> FULL) and search on.
 *   - After every successful FULL->LISTED or LISTED->LEASED the class has to
 *     be read again: the page may have a new life under another class.
 *   - The slot is offered for mapping again (base) only after the last store
 *     to its pagemap and records; free pages are published after the base.
 *   - A thread whose FULL->LISTED fails has nothing more to do: the thread
 *     that won, or the leaseholder, looks at the bitmap afterwards.
 *
 * MUTATIONS  -DMUT_...: each one breaks one step; run.sh expects an error from
 *   every one of them.  They are described where they are applied.
 */

#ifndef THREADS
#define THREADS 2
#endif
#ifndef POOLS
#define POOLS 1
#endif
#ifndef OPS
#define OPS 2
#endif
/* -DEXTRA=n: one of the threads, any one, does n operations more. */
#ifndef START_FRESH
#define START_ANY
#endif

#define ALL        ((1 << POOLS) - 1)
#define BIT(q)     (1 << (q))

#define FREE       0              /* pool state */
#define FULL       1
#define LISTED     2
#define LEASED     3

#define A          0              /* class */
#define B          1
#define FULLSET(k) (3 - 2 * (k))  /* all blocks: A 11b, B 01b */

#define NOPAGE     0              /* pagemap byte */
#define FREEPAGE   1
#define PM(k)      (2 + (k))

#define EMPTY      0              /* slot base */
#define MAPPED     1
#define MAPPING    2

#define TAKE_A     1              /* operations */
#define TAKE_B     2
#define GIVE       3
#define RELEASE    4
#define UNMAP      5
#define AGAIN      6

byte state[POOLS];                /* descriptor: state, class, free bitmap */
byte class[POOLS];
byte free[POOLS];
byte pmap[POOLS];                 /* pagemap byte of the page */
byte partial[2];                  /* per class: hint bit per pool */
bit  psum[2];                     /* per class: summary, bit of this arena */
byte claimable;                   /* bit per whole free page */
byte base;                        /* slot: EMPTY, MAPPED or being mapped */

byte held[POOLS];                 /* ghost: blocks owned by the application */
bit  resident;                    /* ghost: address range exists */
byte done;                        /* ghost: threads at rest */
#ifdef TWICE
byte twice;                       /* ghost: block being returned twice... */
byte twice_p;                     /* ...its pool */
#define SPEND(q, m)               /* and no more, as it has another owner */ \
	twice = (twice_p == (q) -> twice & ~(m) : twice)
#else
#define SPEND(q, m) skip
#endif

/* Set the lower bit, then the upper one unless it is set already. */
inline hint_set(k, q)
{
#ifdef MUT_SUMMARY_READ_FIRST     /* look at the summary before the lower set */
	if
	:: psum[k] -> partial[k] = partial[k] | BIT(q)
	:: else    -> partial[k] = partial[k] | BIT(q); psum[k] = 1
	fi
#else
	partial[k] = partial[k] | BIT(q);
	if
	:: psum[k]
	:: else -> psum[k] = 1
	fi
#endif
}

/* Clear the lower bit; if that left the word zero clear the upper bit, look
   at the lower word once more and set the upper again if it is non-zero. */
inline hint_clear(k, q)
{
	if
	:: atomic { (partial[k] & ~BIT(q)) != 0 ->
			partial[k] = partial[k] & ~BIT(q) }
	:: atomic { (partial[k] & ~BIT(q)) == 0 -> partial[k] = 0 };
		psum[k] = 0;
#ifndef MUT_SUMMARY_NO_RECHECK    /* no second look at the lower word */
		if
		:: partial[k] != 0 -> psum[k] = 1
		:: else
		fi
#endif
	fi
}

/* One bit of the non-zero word v, any one; local. */
inline pick(v)
{
	if
	:: v & 1 -> p = 0
#if POOLS > 1
	:: v & 2 -> p = 1
#endif
	fi
}

/* What must hold when every thread has finished. */
inline at_rest()
{
	p = 0;
	do
	:: p < POOLS ->
		assert(state[p] != LEASED);
		assert(state[p] != LISTED || (partial[class[p]] & BIT(p)));
		assert(state[p] != FULL || free[p] == 0);
		assert(state[p] == FREE || free[p] != FULLSET(class[p]));
		assert(state[p] == FREE || pmap[p] == PM(class[p]));
		assert(state[p] == FREE ||
			(held[p] | free[p]) == FULLSET(class[p]));
		assert(state[p] != FREE || held[p] == 0);
		assert(state[p] == FREE || base == MAPPED);
		assert(((claimable & BIT(p)) != 0) ==
			(state[p] == FREE && base == MAPPED));
		assert(state[p] != FREE ||
			pmap[p] == (base == MAPPED -> FREEPAGE : NOPAGE));
		p++
	:: else -> break
	od;
	assert(partial[A] == 0 || psum[A]);
	assert(partial[B] == 0 || psum[B]);
	assert(base != MAPPING && resident == (base == MAPPED))
}

/* op: kind of the first operation, 0 for any; n: operations to do */
proctype thread(byte op; byte n)
{
	byte p;                   /* pool at hand */
	bit  want;                /* class to refill */
	bit  c;                   /* class of the pool at hand */
	byte w;                   /* search word: pools still to try */
	byte m;                   /* blocks */
	bit  more;                /* after pool_unlease: search on */

rest:	atomic {                  /* local: choose the next operation */
		p = 0; want = 0; c = 0; w = 0; m = 0; more = 0;
		if
		:: n == 0 -> goto out
		:: n > 0 && op != 0       /* the first, chosen by init */
		:: n > 0 && op == 0 ->
			if
			:: op = TAKE_A
			:: op = TAKE_B
			:: op = GIVE
			:: op = RELEASE
			:: op = UNMAP
#ifdef TWICE
			:: twice == 0 -> op = AGAIN
#endif
			fi
		fi;
		n--;
		if
		:: op == TAKE_A  -> want = A; op = 0; goto take
		:: op == TAKE_B  -> want = B; op = 0; goto take
		:: op == GIVE    -> op = 0; goto give
		:: op == RELEASE -> op = 0; goto arelease
		:: op == UNMAP   -> op = 0; goto aunmap
#ifdef TWICE
		:: op == AGAIN   -> op = 0; goto again
#endif
		fi
	}

	/* ---- pool_take ------------------------------------------------ */
take:	if
	:: psum[want]                                   /* load summary */
	:: else -> goto claim
	fi;
	w = partial[want];                              /* load hints */
next:	atomic {
		if
		:: w == 0 -> goto claim
		:: w != 0 -> pick(w); w = w & ~BIT(p)
		fi;
		if                                      /* load state */
		:: state[p] == LISTED -> goto lease
		:: state[p] == LEASED -> goto next
		:: state[p] == FULL || state[p] == FREE -> goto stale
		fi
	};
stale:	hint_clear(want, p);                            /* stale: FULL or FREE */
#ifdef MUT_STALE_NO_RECHECK       /* no second look after clearing a hint */
	goto next;
#endif
#ifdef MUT_STALE_IGNORES_LEASED   /* the second look accepts LISTED only */
	if
	:: state[p] == LISTED
	:: else -> goto next
	fi;
#else
	if                                              /* load state again */
	:: state[p] == LISTED || state[p] == LEASED
	:: else -> goto next
	fi;
#endif
	if                                              /* load class */
	:: class[p] == want
	:: else -> goto next
	fi;
	hint_set(want, p);
	goto next;

lease:	if                                              /* CAS */
	:: atomic { state[p] == LISTED -> state[p] = LEASED }
	:: else -> goto next
	fi;
leased:	c = class[p];                                   /* load, leased */
#ifndef MUT_NO_CLASS_CHECK        /* trust the hint */
	if
	:: c != want ->
		hint_clear(want, p);
		more = 1;
		goto unlease
	:: else
	fi;
#endif
grab:	atomic {
		m = free[p];                            /* load, leased */
		if
		:: m == 0 -> more = 1; goto unlease     /* listed by a late return */
		:: m == 3 -> m = 1                      /* or 2: the same */
		:: m != 0
		fi
	};
	atomic {                                        /* fetch_and */
		assert((free[p] & m) == m);
		free[p] = free[p] & ~m;
		assert(state[p] == LEASED && resident && base == MAPPED);
		assert(class[p] == want && pmap[p] == PM(want));
		assert((held[p] & m) == 0);
		held[p] = held[p] | m;
		SPEND(p, m);
		m = 0; w = 0; want = 0; more = 0;
		goto unlease
	};

	/* ---- pool_begin ----------------------------------------------- */
claim:	atomic {
		w = claimable;                          /* load */
		if
		:: w == 0 -> goto amap
		:: w != 0 -> pick(w); w = 0
		fi
	};
	if                                              /* fetch_and */
	:: atomic { claimable & BIT(p) -> claimable = claimable & ~BIT(p) }
	:: else -> goto claim
	fi;
claimed:
	atomic { assert(held[p] == 0 && state[p] == FREE);
		class[p] = want };
	if                                              /* local: tier */
	:: goto page
	:: skip
	fi;
	atomic { free[p] = FULLSET(want); SPEND(p, 3 & ~free[p]); c = want };
	pmap[p] = PM(want);
	atomic { assert(state[p] == FREE); state[p] = LEASED; goto grab };

	/* begin_page: blocks are the application's when the call returns */
page:	atomic {
		if
		:: m = FULLSET(want)
		:: want == A -> m = 1                   /* or 2: the same */
		fi;
		free[p] = FULLSET(want) & ~m;
		SPEND(p, 3 & ~free[p])
	};
	pmap[p] = PM(want);
	if
	:: free[p] != 0 ->                              /* local: not all */
#ifndef MUT_BEGIN_WITHOUT_LEASE   /* hinted while it still looks free */
		state[p] = LEASED;
#endif
		hint_set(want, p);
		atomic { state[p] = LISTED; held[p] = m; m = 0; w = 0; want = 0;
			goto rest }
	:: else ->
		atomic { assert(state[p] == FREE); state[p] = FULL; held[p] = m;
			m = 0; w = 0; want = 0; goto rest }
	fi;

	/* ---- arena_map ------------------------------------------------ */
amap:	if                                              /* CAS */
	:: atomic { base == EMPTY -> base = MAPPING }
	:: else -> goto rest                            /* nothing to be had */
	fi;
	atomic { assert(!resident); resident = 1; p = 0 };
	do
	:: atomic { p < POOLS -> pmap[p] = FREEPAGE; p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
#ifdef MUT_MAP_PUBLISH_FIRST      /* free pages visible before the base is */
	claimable = claimable | ALL;
	base = MAPPED;
#else
	base = MAPPED;
	claimable = claimable | ALL;
#endif
	goto claim;

	/* ---- pool_return ---------------------------------------------- */
give:	atomic {
		w = 0;                                  /* any block held */
		if
		:: held[0] != 0 -> p = 0
#if POOLS > 1
		:: held[1] != 0 -> p = 1
		:: held[0] == 0 && held[1] == 0 -> goto rest
#else
		:: held[0] == 0 -> goto rest
#endif
		fi;
		m = (held[p] == 3 -> 1 : held[p]);      /* or 2: the same */
		c = class[p];                           /* load, owner */
		assert(resident && pmap[p] == PM(c));   /* load, owner */
		assert((free[p] & m) == 0);
		free[p] = free[p] | m;                  /* fetch_or */
		held[p] = held[p] & ~m;
		m = 0
	};
#ifdef TWICE
	goto given;
again:	atomic {
		if
		:: held[0] != 0 -> twice_p = 0
#if POOLS > 1
		:: held[1] != 0 -> twice_p = 1
		:: held[0] == 0 && held[1] == 0 -> goto rest
#else
		:: held[0] == 0 -> goto rest
#endif
		fi;
		twice = (held[twice_p] == 3 -> 1 : held[twice_p]);
		assert(pmap[twice_p] == PM(class[twice_p])) /* load */
	};
	atomic {                                        /* fetch_or */
		if                                      /* nobody returned it */
		:: held[twice_p] & twice -> twice = 0
		:: else
		fi;
		assert((free[twice_p] & twice) == twice);
		twice = 0; twice_p = 0;
		goto rest
	};
#endif
given:	if                                              /* load state */
	:: state[p] == FULL
	:: state[p] == LISTED -> goto recheck
	:: else -> goto rest
	fi;
	if                                              /* load bitmap, or a slab */
	:: free[p] == FULLSET(c)
	:: goto relist
	fi;
	if                                              /* CAS */
	:: atomic { state[p] == FULL -> state[p] = LEASED }
	:: else ->
		if                                      /* load state again */
		:: state[p] == LISTED -> goto recheck
		:: else -> goto rest
		fi
	fi;
#ifndef MUT_FULL_OLD_CLASS        /* go on with the class it was before */
	c = class[p];                                   /* load, leased */
#endif
	goto unlease;
relist:
#ifdef MUT_RETURN_NO_CAS          /* a store where the CAS should be */
	state[p] = LISTED;
#else
	if                                              /* CAS */
	:: atomic { state[p] == FULL -> state[p] = LISTED }
	:: else -> goto rest
	fi;
#endif
#ifndef MUT_CLASS_READ_BEFORE_CAS /* hint for the class it was before */
	c = class[p];                                   /* load */
#endif
	hint_set(c, p);
#ifdef MUT_RETURN_NO_ALLFREE      /* never looks whether all came back */
	goto rest;
#else
	goto recheck;
#endif

	/* ---- pool_unlease --------------------------------------------- */
unlease:
	atomic {
		assert(state[p] == LEASED && class[p] == c);
		if                                      /* load bitmap */
		:: free[p] == FULLSET(c) -> goto retire
		:: free[p] == 0 -> goto none
		:: free[p] != 0 && free[p] != FULLSET(c) -> goto some
		fi
	};
some:	hint_set(c, p);
	atomic { assert(state[p] == LEASED); state[p] = LISTED };
#ifdef MUT_NO_RECHECK_ALLFREE     /* no second look after storing LISTED */
	goto rested;
#endif
recheck:
	if                                              /* load bitmap */
	:: free[p] == FULLSET(c)
	:: else -> goto rested
	fi;
release:
	if                                              /* CAS */
	:: atomic { state[p] == LISTED -> state[p] = LEASED }
	:: else -> goto rested
	fi;
#ifndef MUT_RELEASE_OLD_CLASS     /* go on with the class it was before */
	c = class[p];                                   /* load, leased */
#endif
	goto unlease;

none:
#ifdef MUT_CLEAR_HINT_AFTER_FULL  /* hint cleared when the lease is gone */
	atomic { assert(state[p] == LEASED); state[p] = FULL };
	hint_clear(c, p);
#else
	hint_clear(c, p);
	atomic { assert(state[p] == LEASED); state[p] = FULL };
#endif
#ifdef MUT_NO_RECHECK_AFTER_FULL  /* no second look after storing FULL */
	goto rested;
#endif
	if                                              /* load bitmap */
	:: free[p] != 0
	:: else -> goto rested
	fi;
	if                                              /* CAS */
	:: atomic { state[p] == FULL -> state[p] = LISTED }
	:: else -> goto rested
	fi;
#ifndef MUT_UNLEASE_OLD_CLASS     /* hint for the class that was leased */
	c = class[p];                                   /* load */
#endif
	hint_set(c, p);
#ifdef MUT_FULL_NO_ALLFREE        /* relisted, but not looked at again */
	goto rested;
#else
	goto recheck;
#endif

rested:	atomic {
		if
		:: more  -> more = 0; c = 0; goto next
		:: !more -> c = 0; goto rest
		fi
	};

	/* ---- pool_retire ---------------------------------------------- */
retire:	hint_clear(c, p);
	atomic { assert(held[p] == 0); pmap[p] = FREEPAGE };
#ifdef MUT_RETIRE_CLEARS          /* the bitmap; needs -DTWICE -DTHREADS=2 -DPOOLS=1 -DOPS=2 */
	free[p] = 0;
#endif
#ifdef MUT_RETIRE_PUBLISH_FIRST   /* claimable before the state is FREE */
	claimable = claimable | BIT(p);
	state[p] = FREE;
#else
	atomic { assert(state[p] == LEASED); state[p] = FREE };
	claimable = claimable | BIT(p);                 /* fetch_or, last */
#endif
	goto rested;

	/* ---- arena_release -------------------------------------------- */
arelease:
	atomic {
		w = claimable;                          /* load */
		if
		:: w == 0 -> goto rest
		:: w != 0 -> pick(w); w = 0
		fi
	};
#ifndef MUT_RELEASE_WITHOUT_CLAIM /* madvise on the strength of a load */
	if                                              /* fetch_and */
	:: atomic { claimable & BIT(p) -> claimable = claimable & ~BIT(p) }
	:: else -> goto rest
	fi;
#endif
	assert(resident && base == MAPPED && held[p] == 0 &&
		state[p] == FREE && pmap[p] == FREEPAGE); /* madvise */
	atomic { claimable = claimable | BIT(p); goto rest };

	/* ---- arena_unmap ---------------------------------------------- */
aunmap:	if                                              /* load */
	:: claimable == ALL
	:: else -> goto rest
	fi;
#ifdef MUT_UNMAP_WITHOUT_CLAIM    /* whatever the exchange gave, unmap */
	atomic { claimable = 0; goto gotall };
#else
	atomic {
		w = claimable; claimable = 0;           /* exchange */
		if
		:: w == ALL -> w = 0; goto gotall
		:: w != ALL -> goto undo
		fi
	};
undo:	atomic { claimable = claimable | w; goto rest }; /* give back */
#endif
gotall:
#ifdef MUT_UNMAP_BASE_FIRST       /* slot offered before it is clean */
	base = EMPTY;
#endif
	p = 0;
	do
	:: atomic { p < POOLS -> assert(held[p] == 0); pmap[p] = NOPAGE; p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
	atomic { assert(resident); resident = 0 };      /* munmap */
	do                                              /* zero the records */
	:: atomic { p < POOLS -> assert(held[p] == 0); state[p] = FREE };
		atomic { free[p] = 0; SPEND(p, 3); p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
#ifndef MUT_UNMAP_BASE_FIRST
	base = EMPTY;                                   /* last */
#endif
	goto rest;

out:	atomic {
		p = 0;
		done++;
		if
		:: done == THREADS -> at_rest(); p = 0
		:: done != THREADS -> p = 0
		fi
	}
}

/* Begin in any state of rest, see the head. */
init
{
	byte i;
	byte k;
	byte kind;
	bit  b;

	atomic {
#ifdef START_ANY
		b = 0;                    /* a page is in use */
		do
		:: i < POOLS ->
			do                /* pools are alike: sorted by kind */
			:: kind < 5 -> kind++
			:: break
			od;
			if
			:: kind == 0 -> state[i] = FREE
			:: kind == 0 -> state[i] = FREE; free[i] = 3 /* was A's */
			:: kind == 1 -> state[i] = FULL;   class[i] = A; held[i] = 3
			:: kind == 2 -> state[i] = LISTED; class[i] = A; held[i] = 3
			:: kind == 3 -> state[i] = LISTED; class[i] = A; held[i] = 2;
					free[i] = 1
			:: kind == 4 -> state[i] = FULL;   class[i] = B; held[i] = 1
			:: kind == 5 -> state[i] = LISTED; class[i] = B; held[i] = 1
			fi;
			if
			:: state[i] == FREE -> claimable = claimable | BIT(i);
				pmap[i] = FREEPAGE
			:: else -> pmap[i] = PM(class[i]); b = 1
			fi;
			k = 0;
			do
			:: k < 2 ->
				if
				:: partial[k] = partial[k] | BIT(i); psum[k] = 1
				:: !(state[i] == LISTED && class[i] == k)
				fi;
				k++
			:: else -> break
			od;
			i++
		:: else -> break
		od;
		if                        /* a summary may be stale too */
		:: skip
		:: psum[A] = 1
		fi;
		if
		:: skip
		:: psum[B] = 1
		fi;
		base = MAPPED; resident = 1;
		if
		:: skip
		:: !b ->                  /* an empty slot */
			base = EMPTY; resident = 0; claimable = 0;
			i = 0;
			do
			:: i < POOLS -> pmap[i] = NOPAGE; i++
			:: else -> break
			od
		fi;
#endif
		/* Threads are alike: their first operations, sorted by kind. */
		i = 0; k = TAKE_A; b = 0;
		do
		:: i < THREADS && k < UNMAP -> k++
		:: i < THREADS -> run thread(k, OPS); i++
#ifdef EXTRA
		:: i < THREADS && !b -> run thread(k, OPS + EXTRA); i++; b = 1
#endif
		:: i == THREADS -> break
		od;
		i = 0; k = 0; b = 0; kind = 0
	}
}
