/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Claiming, publishing, death and repair in a channel of kind MPSC, step by step
 * as in Documentation/many-producers.rst: C1 to C7, P1 and P2, D1 to D3, R1 and
 * R2, Q1 to Q4 as far as a grant is a claim, the end of the stream.
 *
 * Producers claim 1 to BMAX slots, again and again, in user space or by ioctl
 * (GRANTS); publish them, or only the first of them, or none (PARTIAL); give up
 * when there is no room or the compare-and-exchange is lost; die between any two
 * steps, of which CLOSE and a detach are a special case; are succeeded in the
 * same place. The kernel produces in two contexts of which one interrupts the
 * other (SHARED). A hostile producer moves claimed without an intent (FORGE).
 * The stream ends or pauses (PAUSE) with its last producer.
 *
 * What must hold: each position is stamped once and read once, in order, and no
 * slot is claimed before it was released; a tombstone of the repair's is for a
 * slot that somebody has claimed who is dead; a run has no hole; who says "full"
 * is right; the end is behind what was published. When nobody can do anything
 * any more everything claimed has been read and no candidate is left. A pass is
 * repeated only if somebody has stored something since it began, so a repair
 * without an end is such a state, too.
 *
 * Steps are merged only where the order cannot matter: C3 with C4 (who has passed
 * C3 would pass it later), P1 with P2 (nobody reads before the stamp), D1 to D3
 * (claimed is read once, and nobody else reads the rest), the look at a stamp in
 * R2 with its compare-and-exchange (the assertion fails wherever that could be
 * lost).
 *
 * Not here: weak memory, but for M_RELAXED; waiting and waking (wait.pml,
 * queue.pml); a wrap of the laps; cached cursors; forged intents and stamps; the
 * bound on the kernel's tries.
 *
 * Mutations, each of which must fail:
 *
 *   M_INTENT_LATE	the intent is written after the compare-and-exchange
 *   M_NO_COVER		no look at intents in the repair
 *   M_NO_C7		an intent is left behind by who gives up
 *   M_RELAXED		C4 and C5 are seen before the stamps of the claim before
 *   M_LOOK_FIRST	the repair looks at stamps, then at intents, then stores
 *   M_PASSED		R2 does not see that the cursor has passed the slot
 *   M_CLAIMED_LATE	R1 before D1
 *   M_NO_CLAMP		D2 without claimed
 *   M_D3_KEEP		the intent of the dead stays in its place
 *   M_GRANT_KEEP	its grant does
 *   M_FREE_EARLY	the place is free before D2
 *   M_GRANT_LATE	a grant is recorded after its claim can be seen
 *   M_RUN_FIRST	the first stamp of a batch is stored first
 *   M_UNSIGNED		C3 takes a stale s behind the cursor for a full ring
 *   M_PER_CPU		one kernel intent for a CPU, not for each context
 *   M_END_CLAIMED	the stream ends at claimed, which may be forged
 *   M_KEEP_BEYOND	stamps beyond the pause are not taken back
 */
#ifndef NP
#define NP	2	/* places for producers */
#endif
#ifndef USERS
#define USERS	NP	/* producers that are there from the start */
#endif
#ifndef CAP
#define CAP	2	/* slots */
#endif
#ifndef BMAX
#define BMAX	2	/* slots of one claim, at most */
#endif
#ifndef LAST
#define LAST	3	/* positions in all */
#endif
#ifndef SUCC
#define SUCC	1	/* successors that attach to a place that is free again */
#endif

#define NONE	255
#define OPEN	255
#define TOMBSTONE 255
#define lap(s)	((s) / CAP + 1)
#define slot(s)	((s) % CAP)
#define max(a, b) ((a) > (b) -> (a) : (b))
#define min(a, b) ((a) < (b) -> (a) : (b))

/* Shared words. A stamp is a lap and a note: 0, the length of a run, TOMBSTONE. */
byte claimed, cursor;
byte lo[NP] = NONE, hi[NP];
byte stamp[CAP], note[CAP];
byte end_at = OPEN;

/* Kernel memory: the hull of the candidates, claims by ioctl, own intents. */
byte from, to;
bit mutex;
#ifdef GRANTS
byte queued[NP];		/* slots that the caller of IOC_CLAIM waits for */
byte grant_lo[NP] = NONE, grant_hi[NP];
#endif
#ifdef SHARED
byte kintent[2] = NONE;		/* of a task, of an interrupt */
bit interrupted;
bit kernel_gone;
#else
#define kernel_gone true
#endif

#define FREE	0
#define LIVE	1
#define DEAD	2		/* has unmapped; D1 to D3 are to come */
byte place[NP];
byte successors = SUCC;
#if NP > 2
#define place_2	place[2]
#else
#define place_2	FREE
#endif
#define nobody	(place[0] == FREE && place[1] == FREE && place_2 == FREE && kernel_gone)

/* For the proof: who has claimed a slot and not stamped it yet. */
#define KERNEL	253
#define ORPHAN	254
byte owner[CAP];
/* From any time on nobody claims, attaches or dies any more. */
bit stop;
/* A pass is repeated only when somebody has stored something since it began. */
bit changed;
#define touch	changed = (mutex || from < to)

inline won(who)
{
	assert(s + n <= cursor + CAP);
	k = 0;
	do
	:: k < n ->
		assert(owner[slot(s + k)] == 0);
		owner[slot(s + k)] = who;
		k++
	:: else -> break
	od;
	k = 0;
	claimed = s + n;
	touch
}

/* Each slot once a lap. */
inline set_stamp(pos, what)
{
	assert(stamp[slot(pos)] == lap(pos) - 1);
	stamp[slot(pos)] = lap(pos);
	note[slot(pos)] = what;
	owner[slot(pos)] = 0;
	touch
}

inline pick()
{
	if
	:: n = 1
#if BMAX > 1
	:: n = 2
#endif
#if BMAX > 2
	:: n = 3
#endif
	fi
}

#ifdef M_RELAXED
/* C4 and C5 overtake the last stamp of the claim before; C6 releases it. */
#define late_stamp \
	if \
	:: late != NONE -> set_stamp(late, 0); late = NONE \
	:: else \
	fi;
#else
#define late_stamp
#endif

/* Death between any two steps; CLOSE and a detach are the same once unmapped. */
inline dying()
{
	late_stamp
	place[i] = DEAD;
	k = 0;
	do
	:: k < CAP ->
		if
		:: owner[k] == i + 1 -> owner[k] = ORPHAN
		:: else
		fi;
		k++
	:: else -> break
	od;
	s = 0; n = 0; k = 0; take = 0; tried = false
}
#define dies	atomic { !stop -> dying(); goto end_gone }

#ifdef GRANTS
#if NP > 2
#define claimers (queued[0] || queued[1] || queued[2])
#else
#define claimers (queued[0] || queued[1])
#endif
#else
#define claimers false
#endif

proctype producer(byte i)
{
	byte s, n, k;
	byte take;		/* slots of the claim that will hold events */
	bit tried;		/* has passed C4 */
#ifdef M_RELAXED
	byte late = NONE;
#endif

end_head:
	if
	:: atomic {
		!stop && claimed < LAST && !claimers ->	/* C1 */
		s = claimed				/* C2 */
	   }
#ifdef GRANTS
	:: atomic {
		!stop && claimed < LAST ->
		pick();
		late_stamp
		queued[i] = n;				/* Q1 */
		n = 0;
		goto end_Q4
	   }
#endif
#ifdef M_RELAXED
	:: atomic { late != NONE -> late_stamp goto end_head }
#endif
	:: dies
	fi;
C3:
	if
	:: atomic {
		pick();
		if
#ifdef M_UNSIGNED
		:: s + n < cursor ->
			assert(claimed + n > cursor + CAP || claimed + n > LAST);
			goto no_room
#endif
		:: s + n > cursor + CAP || s + n > LAST ->
			assert(claimed + n > cursor + CAP || claimed + n > LAST);
			goto no_room
		:: else
		fi;
		/* Who has passed C3 would pass it later: one step with C4. */
#ifndef M_INTENT_LATE
		hi[i] = s + n;				/* C4 */
		tried = true;
		touch
#endif
	   }
	:: dies
	fi;
#ifndef M_INTENT_LATE
	if						/* C5 */
	:: atomic { lo[i] = s; touch }
	:: dies
	fi;
#endif
	if						/* C6 */
	:: atomic {
		late_stamp
		if
		:: claimed == s ->
			won(i + 1);
			tried = false;
			k = n
		:: else ->
			n = 0;
			s = claimed;
			if
			:: goto C3
			:: goto no_room
			fi
		fi
	   }
	:: dies
	fi;
#ifdef M_INTENT_LATE
	if
	:: atomic { hi[i] = s + n; lo[i] = s; touch }
	:: dies
	fi;
#endif
P2:
	if
	:: atomic {
		if
		:: k == n -> take = n
#ifdef PARTIAL
		:: k == n && n > 1 -> take = n - 1
		:: k == n -> take = 0
#endif
		:: k < n
		fi;
		k--;
		/* The first slot last: its stamp speaks for the others. */
		if
#ifdef M_RUN_FIRST
		:: k == n - 1 && take > 1 -> set_stamp(s, take)
		:: else -> set_stamp(s + n - 1 - k, 0)
#else
#ifdef M_RELAXED
		:: k == 0 && n == 1 -> late = s
#endif
		:: k >= take -> set_stamp(s + k, TOMBSTONE)
		:: k == 0 && take > 1 -> set_stamp(s, take)
		:: else -> set_stamp(s + k, 0)
#endif
		fi;
		if
		:: k > 0 -> goto P2
		:: else
		fi;
		s = 0; n = 0; take = 0;
		goto end_head
	   }
	:: dies
	fi;
no_room:
	if
	:: atomic {
		late_stamp
#ifndef M_NO_C7
		if
		:: tried -> lo[i] = NONE; touch		/* C7 */
		:: else
		fi;
#endif
		s = 0; n = 0; tried = false;
		goto end_head
	   }
	:: dies
	fi;
#ifdef GRANTS
end_Q4:
	if
	:: atomic {
		queued[i] == 0 ->
		s = grant_lo[i];
		n = grant_hi[i] - s;
		k = n;
		goto P2
	   }
	:: dies
	fi;
#endif
end_gone:
	atomic {
		!stop && successors && place[i] == FREE && end_at == OPEN && !mutex ->
		successors--;
		place[i] = LIVE;
		goto end_head
	}
}

#ifdef GRANTS
#define fits(i)	(queued[i] && claimed + queued[i] <= min(cursor + CAP, LAST))

/* Q3: claims and records, under the lock that R1 takes as well. */
proctype server()
{
	byte i, n, s, k;

end:	do
	:: atomic {
		if
		:: fits(0) -> i = 0
		:: fits(1) -> i = 1
#if NP > 2
		:: fits(2) -> i = 2
#endif
		fi;
		n = queued[i];
		s = claimed;
		if
		:: place[i] == LIVE -> won(i + 1)
		:: else -> won(ORPHAN)	/* has not left the queue yet */
		fi;
#ifdef M_GRANT_LATE
	   }
	   atomic {
		touch;
#endif
		grant_hi[i] = s + n;
		grant_lo[i] = s;
		queued[i] = 0;
		i = 0; n = 0; s = 0
	   }
	od
}
#endif

#ifdef SHARED
#ifdef M_PER_CPU
#define mine	0
#else
#define mine	irq
#endif
/*
 * The kernel as producer, on one CPU: a task, and what interrupts it and runs to
 * its end. One slot at a time, so the intent is one word.
 */
proctype kproducer(bit irq)
{
	byte s, n = 1, k;

end:	do
	:: atomic {
		!kernel_gone && !interrupted && !stop && claimed < LAST ->
		interrupted = irq;
		s = claimed					/* C2 */
	   };
C3:	   atomic {
		interrupted == irq ->
		if
		:: s + 1 > cursor + CAP || s + 1 > LAST ->
			kintent[mine] = NONE;			/* C7 */
			touch;
			interrupted = 0;
			s = 0;
			goto end
		:: else
		fi;
		kintent[mine] = s;				/* C4, C5 */
		touch
	   };
	   atomic {
		interrupted == irq ->
		if
		:: claimed == s -> won(KERNEL)			/* C6 */
		:: else ->
			s = claimed;
			goto C3
		fi
	   };
	   atomic {
		interrupted == irq ->
		set_stamp(s, 0);				/* P2 */
		interrupted = 0;
		s = 0
	   }
	:: atomic { !irq && !interrupted && !kernel_gone -> kernel_gone = true; break }
	od
}
#endif

inline candidates(l, h)
{
	a = max(l, cursor);
	b = min(h, min(c, cursor + CAP));
	if
	:: a < b && from < to ->
		from = min(from, a);
		to = max(to, b)
	:: a < b && from >= to ->
		from = a;
		to = b
	:: else
	fi;
	a = 0; b = 0
}

inline cover(l, h)
{
	s = from;
	do
	:: s < to ->
		if
		:: l <= s && s < h -> covered = covered | (1 << slot(s))
		:: else
		fi;
		s++
	:: else -> break
	od;
	s = 0
}

inline skip_free()
{
	do
	:: i < NP && place[i] == FREE -> i++
	:: else -> break
	od
}

/* The kernel, with the channel's mutex held. */
proctype repair()
{
	byte i, c, s, a, b, h;
	byte covered;		/* a bit for each slot */
#ifdef M_LOOK_FIRST
	byte early[CAP];
#endif

end:	do
	:: atomic {
		if
		:: place[0] == DEAD -> i = 0
		:: place[1] == DEAD -> i = 1
#if NP > 2
		:: place[2] == DEAD -> i = 2
#endif
		:: from < to && changed -> i = NP
#ifdef SHARED
		:: nobody && end_at == OPEN -> i = NP
#endif
		fi;
#ifdef M_FREE_EARLY
		if
		:: i < NP -> place[i] = FREE
		:: else
		fi
	   }
	   atomic {
#endif
		mutex = true;
		if
		:: i < NP ->
			c = claimed;				/* D1 */
#if defined(M_NO_CLAMP) || defined(M_CLAIMED_LATE)
			c = NONE;
#endif
			candidates(lo[i], hi[i]);		/* D2 */
#ifndef M_D3_KEEP
			lo[i] = NONE;				/* D3 */
			hi[i] = 0;
#endif
#ifdef GRANTS
			queued[i] = 0;
			candidates(grant_lo[i], grant_hi[i]);
#ifndef M_GRANT_KEEP
			grant_lo[i] = NONE;
			grant_hi[i] = 0;
#endif
#endif
			place[i] = FREE;
			c = 0
		:: else
		fi;

		changed = false;
		from = max(from, cursor);
#ifdef M_LOOK_FIRST
		early[0] = stamp[0];
		early[1] = stamp[1];
#endif
		i = 0;
		skip_free();
		if
#ifdef M_NO_COVER
		:: true -> i = NP
#else
		:: from >= to -> i = NP
		:: else
#endif
		fi
	   }

	   do							/* R1 */
	   :: atomic { i < NP -> h = hi[i] };
	      atomic { cover(lo[i], h); h = 0; i++; skip_free() }
	   :: i >= NP -> break
	   od;
#ifdef SHARED
	   atomic { cover(kintent[0], kintent[0] + 1) };
	   atomic { cover(kintent[1], kintent[1] + 1) };
#endif
	   atomic {
		i = 0;
#if defined(GRANTS) && !defined(M_NO_COVER)
		do
		:: i < NP -> cover(grant_lo[i], grant_hi[i]); i++
		:: else -> i = 0; break
		od;
#endif
#ifdef M_CLAIMED_LATE
		to = min(to, claimed);
#endif
		a = from; b = to; s = a;
		from = 0; to = 0
	   };

	   do							/* R2 */
	   :: atomic {
		s < b ->
		if
#ifdef M_LOOK_FIRST
		:: early[slot(s)] == lap(s)
#else
		:: stamp[slot(s)] == lap(s)
#endif
#ifndef M_PASSED
		:: cursor > s
#endif
		:: else ->
			if
			:: covered & (1 << slot(s)) ->
				from = (from < to -> from : s);
				to = s + 1
			:: else ->
				assert(owner[slot(s)] == ORPHAN);
				set_stamp(s, TOMBSTONE)
			fi
		fi;
		s++
	      }
	   :: s >= b -> break
	   od;

	   atomic {
		a = 0; b = 0; s = 0; covered = 0;
		if
		:: from >= to -> from = 0; to = 0; changed = false
		:: else
		fi;
		if
		:: nobody && from >= to && end_at == OPEN ->
			/* The last one has gone: nobody stores any more. */
			s = cursor;
			do
			:: s < cursor + CAP && stamp[slot(s)] == lap(s) -> s++
			:: else -> break
			od;
#ifndef FORGE
			assert(s == claimed);
#endif
#ifdef M_END_CLAIMED
			s = claimed;
#endif
#ifdef PAUSE
			if
			:: successors ->
				claimed = s;
				do
				:: s < cursor + CAP ->
#ifndef M_KEEP_BEYOND
					stamp[slot(s)] = lap(s) - 1;
					note[slot(s)] = 0;
#endif
					owner[slot(s)] = 0;
					s++
				:: else -> break
				od
			:: else -> end_at = s
			fi;
#else
			end_at = s;
#endif
			s = 0
		:: else
		fi;
		mutex = false
	   }
	od
}

proctype consumer()
{
	byte n;

end:	do
	:: atomic {
		stamp[slot(cursor)] == lap(cursor) ->
		n = note[slot(cursor)];
		n = (n == 0 || n == TOMBSTONE -> 1 : n);
		do
		:: n > 0 ->
			assert(stamp[slot(cursor)] == lap(cursor));
			assert(owner[slot(cursor)] == 0);
			n--;
			assert(n == 0 || note[slot(cursor)] != TOMBSTONE);
			note[slot(cursor)] = 0;
			cursor++
		:: else -> break
		od
	   }
	:: cursor == end_at -> break
	od
}

/* Nobody can do anything any more. */
proctype check()
{
	byte i;

#ifdef FORGE
	/* A hostile producer moves claimed. */
	if
	:: atomic {
		claimed < min(cursor + CAP, LAST) && !mutex && !nobody ->
		owner[slot(claimed)] = ORPHAN;
		claimed++;
		touch
	   }
	:: true
	fi;
#endif
	stop = true;
	timeout;
	d_step {
		assert(from >= to);
#ifdef FORGE
		/* Who forges stalls those who share the channel, and no longer. */
		assert(cursor == claimed || end_at != OPEN || !nobody);
#else
		assert(cursor == claimed);
#endif
		assert(end_at == OPEN || end_at == cursor);
#ifdef GRANTS
		do
		:: i < NP ->
			assert(!queued[i] || claimed + queued[i] > LAST);
			i++
		:: else -> break
		od
#endif
	}
}

init
{
	byte i;

	atomic {
		do
		:: i < USERS -> place[i] = LIVE; run producer(i); i++
		:: else -> break
		od;
#ifdef GRANTS
		run server();
#endif
#ifdef SHARED
		run kproducer(0);
		run kproducer(1);
#endif
		run repair();
		run consumer();
		run check()
	}
}
