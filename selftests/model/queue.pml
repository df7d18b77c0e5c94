/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Claims that wait in the kernel: Q1 to Q4 of Documentation/many-producers.rst.
 * Claimers queue for 1 to CAP slots each, are served in order of arrival, leave
 * (a signal, a deadline, death), the first of them perhaps with what is free when
 * its deadline comes (LEAST). One consumer releases slots one by one and has a
 * store buffer, see wait.pml. Somebody claims without having seen the queue
 * (OVERTAKER): who has passed C1 before, or the kernel as producer.
 *
 * What must hold: when nobody can do anything any more, the first of the queue
 * waits for more than is free.
 *
 * Not here: what is claimed is consumed as if it were published at once; a
 * compare-and-exchange that somebody hostile makes fail.
 *
 * Mutations, each of which must fail:
 *
 *   M_ARM_LATE		Q2 before Q1 has armed the word
 *   M_NO_BARRIER	no Q2
 *   M_NO_SERVE		Q3 is left to others
 *   M_LEAVER_QUIET	a first one that leaves does not serve its successor
 *   M_LEAVER_NO_ARM	it serves, but arms only afterwards
 *   M_LEAVER_NO_BARRIER	it does not execute Q2
 *   M_LEAST_QUIET	one that takes less than it wanted does none of that
 */
#ifndef NC
#define NC	2	/* claimers */
#endif
#ifndef CAP
#define CAP	3
#endif

#define IDLE	255

/*
 * The ring is full when it begins. The consumer has released up to own, memory
 * says cursor: what is in between is in its CPU's store buffer.
 */
byte claimed = CAP, cursor, own;
byte word = IDLE;		/* space_wake */

bit lock;
byte queue[NC], length;		/* first come, first served */
byte count[NC];			/* slots wanted by claimer i, then granted */
bit granted[NC];

/* For the proof */
bit asleep[NC];
bit stop;			/* from any time on nothing new happens */

#define fits	(length && claimed + count[queue[0]] <= cursor + CAP)

inline arm()
{
	word = (length -> claimed + count[queue[0]] - CAP : IDLE)
}

inline unqueue(pos)
{
	k = pos;
	do
	:: k + 1 < length -> queue[k] = queue[k + 1]; k++
	:: else -> break
	od;
	length--;
	queue[length] = 0;
	k = 0
}

/* Q3: claims and records for the first, as long as it fits. */
inline serve()
{
	atomic { !lock -> lock = true }
	do
	:: atomic {
		fits ->
		granted[queue[0]] = true;
		claimed = claimed + count[queue[0]];
		unqueue(0)
	   }
	:: atomic { !fits -> break }
	od;
	atomic { arm(); lock = false }
}

/* Q2 */
inline consumer_barrier()
{
	cursor = own
}

/* SCATTO_IOC_CLAIM, once */
proctype claimer(byte i)
{
	byte k;

end:
	atomic {
		!stop && !lock ->
		do
		:: count[i] < CAP -> count[i]++
		:: count[i] -> break
		od;
		queue[length] = i;				/* Q1 */
		length++;
#ifdef M_ARM_LATE
	}
#else
		if
		:: length == 1 -> arm()
		:: else
		fi
	}
#ifndef M_NO_BARRIER
	consumer_barrier();					/* Q2 */
#endif
#endif
#ifndef M_NO_SERVE
	serve();						/* Q3 */
#endif
	asleep[i] = true;
end_asleep:							/* Q4 */
	if
	:: atomic { granted[i] -> asleep[i] = false; goto end_done }
	:: !stop		/* a signal, a deadline, death */
	fi;
	atomic {
		!lock ->
		asleep[i] = false;
		if
		:: granted[i] -> goto end_done
		:: else
		fi;
		k = 0;
		do
		:: queue[k] != i -> k++
		:: else -> break
		od;
		if
		:: k > 0 -> unqueue(k); goto end_done
		:: else
		fi;
		unqueue(0);
#ifdef LEAST
		/* A deadline: what there is will do. */
		if
		:: claimed < cursor + CAP && claimed + count[i] > cursor + CAP ->
			count[i] = cursor + CAP - claimed;
			claimed = cursor + CAP;
			granted[i] = true;
#ifdef M_LEAST_QUIET
			goto end_done
#endif
		:: true
		fi;
#endif
#ifdef M_LEAVER_QUIET
		goto end_done
#endif
#ifndef M_LEAVER_NO_ARM
		arm()
#endif
	}
#ifndef M_LEAVER_NO_BARRIER
	consumer_barrier();
#endif
	serve();
end_done:
	false
}

/* The consumer releases, and calls if its position has reached the word. */
proctype consumer()
{
	byte w, k;

end:	do
	:: atomic { !stop && own < claimed -> own++ };		/* M1 */
	   w = word;					/* M2 */
	   if
	   :: atomic { w <= own -> w = 0; cursor = own };	/* M3 */
		serve()
	   :: atomic { w > own -> w = 0 }
	   fi
	od
}

/* Its stores reach memory one by one, whenever they like. */
proctype buffer()
{
end:	do
	:: atomic { cursor < own -> cursor++ }
	od
}

#ifdef OVERTAKER
/* Who has passed C1 before, and the kernel as producer. */
proctype overtaker()
{
end:	atomic { !stop && claimed < cursor + CAP -> claimed++ }
}
#endif

/* Nobody can do anything any more. */
proctype check()
{
	stop = true;
	timeout;
	d_step {
		assert(!lock);
		assert(!fits)
	}
}

init
{
	byte i;

	atomic {
		do
		:: i < NC -> run claimer(i); i++
		:: else -> break
		od;
		run consumer();
		run buffer();
#ifdef OVERTAKER
		run overtaker();
#endif
		run check()
	}
}
