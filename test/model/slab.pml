/*
 * slab.pml -- exhaustive model of pools of several pages: which of their pages
 * are live, retained and released while threads take and return blocks
 *
 * WHAT IS MODELLED
 *   One arena of POOLS pools of two pages (core/pool.c, tiers 1 to 3;
 *   core/arena.c, core/release.c).  Class A has three blocks, two on the
 *   first page and one on the second; class B has one, and does not reach the
 *   second page.  THREADS threads do OPS operations each: refill A, refill B,
 *   return blocks (one, or all of a pool at once), release free pools or unmap
 *   the arena, release the retained pages of a pool in use.  The kernel may
 *   refuse each release and each munmap.
 *
 *   Steps, start in any state of rest, and the reading of the operations are
 *   those of pool.pml, which has the summaries of the hints and pools of one
 *   page.  Hints here are one word a class.  `live' of a pool is guarded by
 *   the lease, so what is done to it is joined with the step before.
 *
 * WHAT IS PROVED
 *   - what pool.pml proves of blocks, leases and hints, for these pools, too;
 *   - no page is released with a block on it that the application holds;
 *   - blocks that are said to be zero lie on pages that nobody has touched
 *     since the kernel gave them;
 *   - at rest exactly the pages with a block taken are live, exactly the other
 *     resident ones are retained, a free pool is `ready' if it has one of
 *     those and `fresh' otherwise, and no pool in use is all free.
 *
 * THINGS THE MODEL SAYS ABOUT THE C CODE
 *   - Who turns FULL to LISTED answers for all that was returned before: the
 *     leaseholder who stored FULL finds that done and goes away, as did those
 *     who saw LEASED.  So the winner looks at every page of the pool, not only
 *     at those of his own blocks, and with the class it has by then.
 *     (MUT_TEND_OWN_PAGES, MUT_TEND_OLD_CLASS, MUT_UNLEASE_OLD_LIVE)
 *   - A pool that is all free must be seen as such by the second look itself:
 *     its last page may have been settled before. (MUT_LOOK_AT_PAGES_ONLY)
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

#define ALL        ((1 << POOLS) - 1)
#define BIT(q)     (1 << (q))

#define FREE       0              /* pool state */
#define FULL       1
#define LISTED     2
#define LEASED     3

#define A          0              /* class */
#define B          1
#define FULLSET(k) (7 - 6 * (k))  /* all blocks: A 111b, B 001b */

/* Pages of blocks m of class k: bit 0 the first, bit 1 the second. */
#define OF_A(m)    ((((m) & 3) -> 1 : 0) | (((m) & 4) >> 1))
#define ON(k, m)   ((k) == A -> OF_A(m) : (m) & 1)
#define TAKEN(k, f) (FULLSET(k) & ~(f))

#define PAGES(q)   (3 << (2 * (q)))       /* a pool's bits in words of pages */
#define PART(v, q) (((v) >> (2 * (q))) & 3)

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
#define RELEASE_IN 5

byte state[POOLS];                /* descriptor */
byte class[POOLS];
byte free[POOLS];
byte live[POOLS];                 /* guarded by the lease */
byte pmap[POOLS];                 /* pagemap bytes of the pool's pages */
byte retained;                    /* bit a page */
byte ready;                       /* free pools with a resident page */
byte fresh;                       /* free pools without */
byte partial[2];                  /* per class: hint bit per pool */
byte base;                        /* slot: EMPTY, MAPPED or being mapped */

byte held[POOLS];                 /* ghost: blocks owned by the application */
byte resident;                    /* ghost: bit a page that was touched */
bit  mapped;                      /* ghost: address range exists */
byte done;                        /* ghost: threads at rest */

/* Clear the hint unless it is clear already. */
inline unhint(k, q)
{
	if
	:: partial[k] & BIT(q) -> partial[k] = partial[k] & ~BIT(q)
	:: else
	fi
}
inline hint(k, q) { partial[k] = partial[k] | BIT(q) }

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
			held[p] == TAKEN(class[p], free[p]));
		assert(state[p] == FREE ||
			live[p] == ON(class[p], held[p]));
		assert(state[p] != FREE || held[p] == 0);
		assert(state[p] == FREE || base == MAPPED);
		m = PART(retained, p);
		assert(state[p] != FREE || PART(resident, p) == m);
		assert(state[p] == FREE ||
			((m & live[p]) == 0 && PART(resident, p) == (m | live[p])));
		assert(((ready & BIT(p)) != 0) ==
			(state[p] == FREE && base == MAPPED && m != 0));
		assert(((fresh & BIT(p)) != 0) ==
			(state[p] == FREE && base == MAPPED && m == 0));
		assert(state[p] != FREE ||
			pmap[p] == (base == MAPPED -> FREEPAGE : NOPAGE));
		p++
	:: else -> break
	od;
	m = 0;
	assert(base != MAPPING && mapped == (base == MAPPED));
	assert(mapped || (resident == 0 && retained == 0))
}

/* op: kind of the first operation, 0 for any; n: operations to do */
proctype thread(byte op; byte n)
{
	byte p;                   /* pool at hand */
	bit  want;                /* class to refill */
	bit  c;                   /* class of the pool at hand */
	byte w;                   /* search word: pools still to try */
	byte m;                   /* blocks */
	byte g;                   /* pages */
	byte lv;                  /* live pages, as of the end of the lease */
	bit  more;                /* after pool_unlease: search on */

rest:	atomic {                  /* local: choose the next operation */
		p = 0; want = 0; c = 0; w = 0; m = 0; g = 0; lv = 0; more = 0;
		if
		:: n == 0 -> goto out
		:: n > 0 && op == 0 -> n--;
			if
			:: want = A; goto take
			:: want = B; goto take
			:: goto give
			:: goto arelease
			:: goto prelease
			fi
		:: n > 0 && op != 0 -> n--
		fi;
		if
		:: op == TAKE_A     -> op = 0; want = A; goto take
		:: op == TAKE_B     -> op = 0; want = B; goto take
		:: op == GIVE       -> op = 0; goto give
		:: op == RELEASE    -> op = 0; goto arelease
		:: op == RELEASE_IN -> op = 0; goto prelease
		fi
	}

	/* ---- take_partial, take_from ---------------------------------- */
take:	w = partial[want];                              /* load hints */
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
stale:	unhint(want, p);                                /* drop_stale_hint */
	if                                              /* load state again */
	:: state[p] == LISTED || state[p] == LEASED
	:: else -> goto next
	fi;
	if                                              /* load class */
	:: class[p] == want
	:: else -> goto next
	fi;
	hint(want, p);
	goto next;

lease:	if                                              /* CAS */
	:: atomic { state[p] == LISTED -> state[p] = LEASED }
	:: else -> goto next
	fi;
	c = class[p];                                   /* load, leased */
	if
	:: c != want -> unhint(want, p); more = 1; goto unlease
	:: else
	fi;

	/* ---- take_leased ---------------------------------------------- */
grab:	atomic {
		m = free[p];                            /* load, leased */
		if
		:: m == 0 -> more = 1; goto unlease     /* listed by a late return */
		:: m & 1 -> m = 1
		:: m & 2 -> m = 2
		:: m & 4 -> m = 4
		:: m != 0                               /* all */
		fi
	};
	atomic {                                        /* fetch_and */
		assert((free[p] & m) == m);
		free[p] = free[p] & ~m;
		assert(state[p] == LEASED && mapped && base == MAPPED);
		assert(class[p] == want && pmap[p] == PM(want));
		assert((held[p] & m) == 0)
	};
	atomic {                                        /* load retained */
		lv = ON(want, m) & ~live[p];            /* pages not live yet */
		g = PART(retained, p) & lv;             /* of those, resident */
#ifdef MUT_ZERO_THOUGH_RETAINED   /* what is retained passes for fresh */
		if
		:: lv == ON(want, m) -> assert((PART(resident, p) & lv) == 0)
#else
		if
		:: g == 0 && lv == ON(want, m) ->       /* *zero */
			assert((PART(resident, p) & lv) == 0)
#endif
		:: else
		fi;
		live[p] = live[p] | lv;
		resident = resident | (lv << (2 * p));
		lv = 0; held[p] = held[p] | m; m = 0; w = 0; want = 0;
		if
		:: g == 0 -> goto unlease
		:: g != 0
		fi
	};
#ifndef MUT_LIVE_AND_RETAINED     /* a page counts twice */
	retained = retained & ~(g << (2 * p));          /* fetch_and */
#endif
	g = 0;
	goto unlease;

	/* ---- arena_claim_pool, begin_slab ----------------------------- */
claim:	atomic {
		w = ready;                              /* load */
		if
		:: w == 0 -> goto untouched
		:: w != 0 -> pick(w); w = 0
		fi
	};
	if                                              /* fetch_and */
	:: atomic { ready & BIT(p) -> ready = ready & ~BIT(p); goto claimed }
	:: else -> goto claim
	fi;
untouched:
	atomic {
		w = fresh;                              /* load */
		if
		:: w == 0 -> goto amap
		:: w != 0 -> pick(w); w = 0
		fi
	};
	if                                              /* fetch_and */
	:: atomic { fresh & BIT(p) -> fresh = fresh & ~BIT(p) }
	:: else -> goto untouched
	fi;
claimed:
	atomic { assert(held[p] == 0 && state[p] == FREE);
		class[p] = want; c = want };
	atomic { free[p] = FULLSET(want); live[p] = 0 };
	pmap[p] = PM(want);
	atomic { assert(state[p] == FREE); state[p] = LEASED; goto grab };

	/* ---- arena_map ------------------------------------------------ */
amap:	if                                              /* fetch_and: a slot */
	:: atomic { base == EMPTY -> base = MAPPING }
	:: else -> goto rest                            /* nothing to be had */
	fi;
	atomic { assert(!mapped); mapped = 1; p = 0 };
	do
	:: atomic { p < POOLS -> pmap[p] = FREEPAGE; p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
	base = MAPPED;
	fresh = fresh | ALL;
	goto claim;

	/* ---- pool_return ---------------------------------------------- */
give:	atomic {
		if
		:: held[0] != 0 -> p = 0
#if POOLS > 1
		:: held[1] != 0 -> p = 1
		:: held[0] == 0 && held[1] == 0 -> goto rest
#else
		:: held[0] == 0 -> goto rest
#endif
		fi;
		m = held[p];
		if
		:: m & 1 -> m = 1
		:: m & 2 -> m = 2
		:: m & 4 -> m = 4
		:: skip                                 /* all */
		fi;
		c = class[p];                           /* load, owner */
		assert(mapped && pmap[p] == PM(c));     /* load, owner */
		assert((free[p] & m) == 0);
		free[p] = free[p] | m;                  /* fetch_or */
		held[p] = held[p] & ~m;
		g = ON(c, m); m = 0
	};

	/* ---- pool_tend ------------------------------------------------ */
	if                                              /* load state */
	:: state[p] == FULL
	:: state[p] == LISTED -> goto tend
	:: state[p] == FREE || state[p] == LEASED -> goto second
	fi;
	if                                              /* CAS */
	:: atomic { state[p] == FULL -> state[p] = LISTED }
	:: else -> goto again
	fi;
	atomic {
#ifdef MUT_TEND_OLD_CLASS         /* look with the old; needs -DTHREADS=3 -DPOOLS=1 -DOPS=1 */
		m = class[p];                           /* load */
#else
		c = class[p]; m = c;                    /* load */
#endif
#ifndef MUT_TEND_OWN_PAGES        /* answer for one's own blocks only */
		g = ON(c, FULLSET(c))
#endif
	};
	hint(m, p);
	m = 0;
again:	if                                              /* load state */
	:: state[p] == LISTED -> goto tend
	:: else
	fi;
second:	if                                              /* load state */
	:: state[p] == LISTED
	:: else -> goto rest
	fi;
	/* has_to_settle */
tend:	if                                              /* load bitmap */
	:: free[p] == FULLSET(c) -> goto tendit
	:: else
	fi;
	if                                              /* load bitmap */
	:: (g & ~ON(c, TAKEN(c, free[p]))) != 0
	:: else -> goto rest
	fi;
tendit:	g = 0;
	if                                              /* CAS */
	:: atomic { state[p] == LISTED -> state[p] = LEASED }
	:: else -> goto rest
	fi;
	c = class[p];                                   /* load, leased */

	/* ---- pool_unlease --------------------------------------------- */
unlease:
	atomic {
		assert(state[p] == LEASED && class[p] == c);
		if                                      /* load bitmap */
		:: free[p] == FULLSET(c) -> goto retire
		:: free[p] != FULLSET(c)
		fi
	};
	atomic {                                        /* load bitmap */
		g = live[p] & ~ON(c, TAKEN(c, free[p]));
		live[p] = live[p] & ~g;
		lv = live[p];
		if
		:: g == 0 -> goto settled
		:: g != 0
		fi
	};
#ifdef MUT_SETTLE_AFTER_THE_LEASE /* pages move when others may use them */
	goto settled;
#endif
	atomic { retained = retained | (g << (2 * p)); g = 0 }; /* fetch_or */
settled:
	if                                              /* load bitmap */
	:: free[p] != 0
	:: else -> goto none
	fi;
	hint(c, p);
#ifdef MUT_LISTED_SEEN_LATE       /* the store passes the second look */
	m = free[p];
	atomic { assert(state[p] == LEASED); state[p] = LISTED };
	goto late;
#else
	atomic { assert(state[p] == LEASED); state[p] = LISTED };
#endif
#ifdef MUT_SETTLE_AFTER_THE_LEASE
	atomic { retained = retained | (g << (2 * p)); g = 0 };
#endif
#ifdef MUT_NO_SECOND_LOOK         /* after storing LISTED */
	goto rested;
#endif
	goto look;

none:	unhint(c, p);
#ifdef MUT_FULL_SEEN_LATE         /* the store passes the second look */
	m = free[p];
	atomic { assert(state[p] == LEASED); state[p] = FULL };
	if
	:: m != 0 -> m = 0
	:: else -> goto rested
	fi;
#else
	atomic { assert(state[p] == LEASED); state[p] = FULL };
	if                                              /* load bitmap */
	:: free[p] != 0
	:: else -> goto rested
	fi;
#endif
	if                                              /* CAS */
	:: atomic { state[p] == FULL -> state[p] = LISTED }
	:: else -> goto rested
	fi;
	atomic {
		c = class[p];                           /* load */
#ifndef MUT_UNLEASE_OLD_LIVE      /* of another class; needs -DTHREADS=3 -DPOOLS=1 -DOPS=1 -DEXTRA=1 */
		lv = ON(c, FULLSET(c))
#endif
	};
	hint(c, p);
	goto look;
#ifdef MUT_LISTED_SEEN_LATE
late:	if
	:: m == FULLSET(c) -> m = 0; goto settle
	:: else -> goto pages
	fi;
#endif

	/* has_to_settle */
look:
#ifndef MUT_LOOK_AT_PAGES_ONLY    /* its last page was settled already */
	if                                              /* load bitmap */
	:: free[p] == FULLSET(c) -> goto settle
	:: else
	fi;
#endif
	m = free[p];                                    /* load bitmap */
pages:	atomic {
		if
		:: (lv & ~ON(c, TAKEN(c, m))) != 0 -> m = 0
		:: else -> m = 0; goto rested
		fi
	};
settle:
	if                                              /* CAS */
	:: atomic { state[p] == LISTED -> state[p] = LEASED }
	:: else -> goto rested
	fi;
	c = class[p];                                   /* load, leased */
	goto unlease;

rested:	atomic {
		if
		:: more  -> more = 0; c = 0; lv = 0; g = 0; goto next
		:: !more -> goto rest
		fi
	};

	/* ---- pool_retire, arena_return_pool --------------------------- */
retire:	unhint(c, p);
	atomic {                                        /* fetch_or */
		retained = retained | (live[p] << (2 * p));
		live[p] = 0
	};
	atomic { assert(held[p] == 0); pmap[p] = FREEPAGE };
	atomic { assert(state[p] == LEASED); state[p] = FREE };
	m = PART(retained, p);                          /* load */
	if
	:: atomic { m != 0 -> ready = ready | BIT(p); m = 0 } /* fetch_or */
	:: atomic { m == 0 -> fresh = fresh | BIT(p) }
	fi;
	goto rested;

	/* ---- take_free_pools ------------------------------------------ */
arelease:
	atomic { w = ready; ready = 0;                  /* fetch_and */
		if
		:: w == 0 -> goto rest
		:: w != 0
		fi };
#ifdef MUT_FRESH_NOT_TAKEN        /* on the strength of a load; needs -DTHREADS=2 -DPOOLS=2 -DOPS=1 */
	if
	:: (w | fresh) == ALL -> w = ALL; goto aunmap
	:: else -> goto some
	fi;
#else
	if                                              /* load fresh */
	:: (w | fresh) == ALL
	:: else -> goto some
	fi;
	atomic { w = w | fresh; fresh = 0 };            /* fetch_and */
#endif
	if
	:: w == ALL
	:: else -> goto some
	fi;
aunmap:	atomic { g = retained; retained = 0 };          /* fetch_and */
	if                                              /* arena_close */
	:: goto kept                                    /* too many holes */
	:: skip
	fi;
	p = 0;
	do
	:: atomic { p < POOLS -> assert(held[p] == 0 && state[p] == FREE);
		pmap[p] = NOPAGE; p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
	if                                              /* munmap */
	:: atomic { mapped = 0; resident = 0 }
	:: goto refused
	fi;
	do                                              /* the record, zeroed */
	:: atomic { p < POOLS -> state[p] = FREE; class[p] = A; free[p] = 0;
		live[p] = 0; p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
	atomic { g = 0; base = EMPTY; goto rest };      /* give_slots_back */
refused:
	do
	:: atomic { p < POOLS -> pmap[p] = FREEPAGE; p++ }
	:: atomic { p == POOLS -> p = 0; break }
	od;
kept:
#ifdef MUT_KEPT_FORGETS_PAGES     /* what a refused munmap left is not retained */
	g = 0;
#else
	atomic { retained = retained | g; g = 0 };      /* fetch_or */
#endif
	/* release_free_pools, release_run */
some:	atomic {                                        /* load retained */
		g = ((w & 1) -> PAGES(0) : 0) | ((w & 2) -> PAGES(1) : 0);
		g = g & retained;
		if
		:: g == 0 -> goto putback
		:: g != 0
		fi
	};
	if                                              /* madvise */
	:: atomic {
		assert(mapped && base == MAPPED);
		assert((w & 1) == 0 || (held[0] == 0 && state[0] == FREE));
#if POOLS > 1
		assert((w & 2) == 0 || (held[1] == 0 && state[1] == FREE));
#endif
		resident = resident & ~g }
#ifdef MUT_REFUSED_BELIEVED       /* counts as released though the kernel refused */
	:: skip
#else
	:: g = 0; goto putback
#endif
	fi;
	atomic { retained = retained & ~g; g = 0 };     /* fetch_and */
	/* arena_return_pools */
putback:
	atomic {                                        /* load retained */
		m = w & ((PART(retained, 0) -> 1 : 0) | (PART(retained, 1) -> 2 : 0))
	};
	atomic { ready = ready | m; w = w & ~m; m = 0 }; /* fetch_or */
	atomic { fresh = fresh | w; w = 0; goto rest }; /* fetch_or */

	/* ---- take_live_pools, pool_release_pages ---------------------- */
prelease:
	w = ready;                                      /* load */
	w = w | fresh;                                  /* load */
	atomic {                                        /* load retained */
		w = ~w & ((PART(retained, 0) -> 1 : 0) | (PART(retained, 1) -> 2 : 0));
		if
		:: w == 0 -> goto rest
		:: w != 0 -> pick(w); w = 0
		fi
	};
#ifndef MUT_RELEASE_WITHOUT_LEASE
	if                                              /* CAS */
	:: atomic { state[p] == LISTED -> state[p] = LEASED; goto leased }
	:: else
	fi;
	if                                              /* CAS */
	:: atomic { state[p] == FULL -> state[p] = LEASED }
	:: else -> goto rest
	fi;
#endif
leased:	c = class[p];                                   /* load, leased */
	atomic {                                        /* load retained */
		g = PART(retained, p) & ~live[p];
		if
		:: g == 0 -> goto unlease
		:: g != 0
		fi
	};
	if                                              /* madvise */
	:: atomic {
		assert(mapped && base == MAPPED);
		assert((g & ON(class[p], held[p])) == 0);
		resident = resident & ~(g << (2 * p)) }
	:: g = 0; goto unlease                          /* refused */
	fi;
	atomic { retained = retained & ~(g << (2 * p)); g = 0 }; /* fetch_and */
#ifdef MUT_RELEASE_WITHOUT_LEASE
	goto rest;
#endif
	goto unlease;

out:	atomic {
		p = 0;
		done++;
		if
		:: done == THREADS -> at_rest(); p = 0
		:: done != THREADS -> p = 0
		fi
	}
}

/* Begin in any state of rest. */
init
{
	byte i;
	byte k;
	byte kind;
	bit  b;

	atomic {
		base = MAPPED; mapped = 1;
		do
		:: i < POOLS ->
			do                /* pools are alike: sorted by kind */
			:: kind < 8 -> kind++
			:: break
			od;
			if                /* the two first blocks are alike */
			:: kind == 0 -> state[i] = FREE
			:: kind == 0 -> state[i] = FREE; free[i] = 7 /* was A's */
			:: kind == 1 -> state[i] = FULL;   class[i] = A; held[i] = 7
			:: kind == 2 -> state[i] = LISTED; class[i] = A; held[i] = 7
			:: kind == 3 -> state[i] = LISTED; class[i] = A; held[i] = 5
			:: kind == 4 -> state[i] = LISTED; class[i] = A; held[i] = 3
			:: kind == 5 -> state[i] = LISTED; class[i] = A; held[i] = 1
			:: kind == 6 -> state[i] = LISTED; class[i] = A; held[i] = 4
			:: kind == 7 -> state[i] = FULL;   class[i] = B; held[i] = 1
			:: kind == 8 -> state[i] = LISTED; class[i] = B; held[i] = 1
			fi;
			if
			:: state[i] == FREE -> pmap[i] = FREEPAGE
			:: else -> pmap[i] = PM(class[i]); b = 1;
				free[i] = TAKEN(class[i], held[i]);
				live[i] = ON(class[i], held[i])
			fi;
			if                /* any of the other pages retained */
			:: k = 0
			:: k = 1
			:: k = 2
			:: k = 3
			fi;
			k = k & ~live[i];
			retained = retained | (k << (2 * i));
			resident = resident | ((k | live[i]) << (2 * i));
			if
			:: state[i] == FREE && k != 0 -> ready = ready | BIT(i)
			:: state[i] == FREE && k == 0 -> fresh = fresh | BIT(i)
			:: else
			fi;
			k = 0;
			do
			:: k < 2 ->
				if
				:: partial[k] = partial[k] | BIT(i)
				:: !(state[i] == LISTED && class[i] == k)
				fi;
				k++
			:: else -> break
			od;
			i++
		:: else -> break
		od;
		if
		:: skip
		:: !b && retained == 0 -> /* an empty slot */
			base = EMPTY; mapped = 0; fresh = 0;
			i = 0;
			do
			:: i < POOLS -> pmap[i] = NOPAGE; i++
			:: else -> break
			od
		fi;
		/* Threads are alike: their first operations, sorted by kind. */
		i = 0; k = TAKE_A; b = 0;
		do
		:: i < THREADS && k < RELEASE_IN -> k++
		:: i < THREADS -> run thread(k, OPS); i++
#ifdef EXTRA
		:: i < THREADS && !b -> run thread(k, OPS + EXTRA); i++; b = 1
#endif
		:: i == THREADS -> break
		od;
		i = 0; k = 0; b = 0; kind = 0
	}
}
