/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Queues under measurement. A template Queue<N> for events of N bytes has
 *
 *	Queue(slots, producers)			in the arena
 *	Sender(queue), Receiver(queue)		made where they are used
 *	  bool push(const Event<N> &), bool pop(Event<N> &)
 *	  unsigned int push(const Event<N> *, n), pop(Event<N> *, n)	if it has batches
 *
 * none of which waits. It copies each event in and out: the sender has it in a buffer
 * of its own, and the receiver wants it in one.
 *
 * What arrived is checked: in an untimed lap over the ring each word of each event, in
 * the timed part the first word, which is the event's number, and the last. The next
 * number is known, so nothing can be missing, changed, twice or out of order.
 */
#ifndef SELFTESTS_BENCH_QUEUE_H
#define SELFTESTS_BENCH_QUEUE_H

#include <type_traits>

#include "../../../lib/tools/histogram.h"
#include "bench.hh"
#include "clock.hh"
#include "parties.hh"

namespace bench {

/* Let the compiler not know what is in there, and believe that all of it is used. */
template <class T> inline void opaque(T &object)
{
	asm volatile("" : "+m"(object));
}

inline void opaque_array(const void *start)
{
	asm volatile("" : : "r"(start) : "memory");
}

template <unsigned int N> struct Event {
	static constexpr unsigned int kWords = N / 8;

	uint64_t word[kWords];

	static uint64_t pattern(uint64_t number, unsigned int i)
	{
		return number ^ i * UINT64_C(0x9e3779b97f4a7c15);
	}
	template <bool each_word> void fill(uint64_t number)
	{
		for (unsigned int i = each_word ? 0 : kWords - 1; i < kWords; i++)
			word[i] = pattern(number, i);
		word[0] = number;
	}
	/* 0 when this is event @number. */
	template <bool each_word> uint64_t difference(uint64_t number) const
	{
		uint64_t bad = word[0] ^ number;

		for (unsigned int i = each_word ? 0 : kWords - 1; i < kWords; i++)
			bad |= word[i] ^ pattern(number, i);
		return bad;
	}
};

/* A producer's events are numbered from 1 on, with the producer above that. */
constexpr unsigned int kProducerShift = 48;

class OneProducer {
public:
	uint64_t expect(uint64_t) { return ++last_; }
	uint64_t missing(const Case &, uint64_t) const { return 0; }

private:
	uint64_t last_ = 0;
};

class ManyProducers {
public:
	uint64_t expect(uint64_t number)
	{
		uint64_t who = number >> kProducerShift;

		return who < kMaxProducers ? who << kProducerShift | ++last_[who] : ~number;
	}
	uint64_t missing(const Case &, uint64_t) const { return 0; }

private:
	uint64_t last_[kMaxProducers] = {};
};

/*
 * For a queue that says kInOrder = false, several producers' events are only checked to be
 * those that were sent.
 */
class AnyOrder {
public:
	uint64_t expect(uint64_t number)
	{
		add(number);
		return number;
	}
	/* 0 if these were all, @n of each producer. */
	uint64_t missing(const Case &c, uint64_t n) const
	{
		AnyOrder sent;

		for (uint64_t who = 0; who < c.producers; who++)
			for (uint64_t i = 1; i <= n; i++)
				sent.add(who << kProducerShift | i);
		return (sum_ ^ sent.sum_) | (squares_ ^ sent.squares_);
	}

private:
	void add(uint64_t number)
	{
		sum_ += number;
		squares_ += number * number;
	}

	uint64_t sum_ = 0, squares_ = 0;
};

/* What a party knows when it is through. */
struct alignas(128) Outcome {
	uint64_t start, end;	/* of the timed part */
	uint64_t calls;		/* that moved something */
	uint64_t vain;		/* that found the ring full, or empty */
	uint64_t bad;
	double percentile[5];
};

struct Shared {
	Shared(const Case &c, uint64_t n) : c(c), n(n), meet(c.producers + 1) {}

	const Case c;
	const uint64_t n;	/* events of each producer */
	alignas(128) Meeting meet;
	alignas(128) uint64_t epoch;
	Outcome outcome[kMaxProducers + 1] = {};
};

/* About 200 cycles, several times what a ring costs. */
inline void work(bool really)
{
	for (unsigned int i = 0; really && i < 200; i++)
		asm volatile("");
}

class Waiter {
public:
	explicit Waiter(const Case &c) : yields_(c.yields()) {}
	/* @bad: something wrong arrived, and perhaps not everything. */
	void operator()(uint64_t &vain, uint64_t bad = 0) const
	{
		vain++;
		if (bad)
			die("not what was sent: " + now_running);
		if (yields_)
			sched_yield();
	}

private:
	const bool yields_;
};

template <class Q, unsigned int N>
constexpr bool batches_out = requires(typename Q::Receiver r, Event<N> e) { r.pop(&e, 1u); };
template <class Q, unsigned int N>
constexpr bool batches_in = requires(typename Q::Sender s, Event<N> e) { s.push(&e, 1u); };

template <class Q> constexpr bool in_order = true;
template <class Q>
	requires requires { Q::kInOrder; }
constexpr bool in_order<Q> = Q::kInOrder;

template <class Q, unsigned int N> class Trial {
	using Sender = typename Q::Sender;
	using Receiver = typename Q::Receiver;

	/* @n events, the last of them @last. */
	template <bool each_word>
	static void send(Sender &to, const Case &c, uint64_t last, uint64_t n, Outcome &o)
	{
		const bool busy = c.regime == Regime::flows;
		const Waiter wait(c);
		uint64_t vain = 0;
		Event<N> event;

		event.template fill<true>(0);
		for (uint64_t i = last - n + 1; i <= last; i++) {
			work(busy);
			event.template fill<each_word>(i);
			opaque(event);
			while (!to.push(event))
				wait(vain);
		}
		o.calls = n;
		o.vain = vain;
	}

	static void send_batches(Sender &to, const Case &c, uint64_t last, uint64_t n, Outcome &o)
	{
		std::vector<Event<N>> events(c.send);
		const Waiter wait(c);
		uint64_t vain = 0, calls = 0;

		for (Event<N> &event : events)
			event.template fill<true>(0);
		for (uint64_t i = last - n; i < last;) {
			unsigned int size = std::min<uint64_t>(c.send, last - i), done = 0;

			for (unsigned int j = 0; j < size; j++)
				events[j].template fill<false>(++i);
			opaque_array(events.data());
			while (done < size) {
				unsigned int now = to.push(events.data() + done, size - done);

				done += now;
				if (now)
					calls++;
				else
					wait(vain);
			}
		}
		o.calls = calls;
		o.vain = vain;
	}

	template <bool each_word, class Numbers>
	static void receive(Receiver &from, const Case &c, Numbers &numbers, uint64_t n, Outcome &o)
	{
		const bool busy = c.regime == Regime::fills;
		const Waiter wait(c);
		uint64_t vain = 0, bad = 0;
		Event<N> event;

		for (uint64_t i = 0; i < n; i++) {
			while (!from.pop(event))
				wait(vain, bad);
			opaque(event);
			bad |= event.template difference<each_word>(numbers.expect(event.word[0]));
			work(busy);
		}
		o.calls = n;
		o.vain = vain;
		o.bad |= bad;
	}

	template <class Numbers>
	static void receive_batches(Receiver &from, const Case &c, Numbers &numbers, uint64_t n,
				    Outcome &o)
	{
		const unsigned int most = c.receive == kAll ? c.slots : c.receive;
		std::vector<Event<N>> events(most);
		uint64_t vain = 0, calls = 0, bad = 0;
		const Waiter wait(c);

		for (uint64_t i = 0; i < n;) {
			unsigned int got = from.pop(events.data(), std::min<uint64_t>(most, n - i));

			if (!got) {
				wait(vain, bad);
				continue;
			}
			opaque_array(events.data());
			for (unsigned int j = 0; j < got; j++)
				bad |= events[j].template difference<false>(
					numbers.expect(events[j].word[0]));
			i += got;
			calls++;
		}
		o.calls = calls;
		o.vain = vain;
		o.bad |= bad;
	}

	static uint64_t lap(const Case &c) { return 2 * c.slots / c.producers + 1; }

	static void produce(Q &queue, Shared &s, unsigned int i)
	{
		const uint64_t base = uint64_t(i - 1) << kProducerShift, before = lap(s.c);
		const Case c = s.c;
		const uint64_t n = s.n;
		Sender to(queue);
		Outcome o = {};

		s.meet();
		send<true>(to, c, base + before, before, o);
		s.meet();
		o.start = ticker.now();
		if constexpr (batches_in<Q, N>)
			if (c.send != 1)
				send_batches(to, c, base + before + n, n, o);
		if (c.send == 1)
			send<false>(to, c, base + before + n, n, o);
		o.end = ticker.now();
		s.outcome[i] = o;
		s.meet();
	}

	template <class Numbers> static void consume(Q &queue, Shared &s)
	{
		const Case c = s.c;
		const uint64_t n = s.n * c.producers;
		Receiver from(queue);
		Numbers numbers;
		Outcome o = {};

		s.meet();
		receive<true>(from, c, numbers, lap(c) * c.producers, o);
		s.meet();
		o.start = ticker.now();
		if constexpr (batches_out<Q, N>)
			if (c.receive != 1)
				receive_batches(from, c, numbers, n, o);
		if (c.receive == 1)
			receive<false>(from, c, numbers, n, o);
		o.end = ticker.now();
		o.bad |= numbers.missing(c, lap(c) + s.n);
		s.outcome[0] = o;
		s.meet();
	}

	static Run elapsed(const Shared &s)
	{
		uint64_t start = UINT64_MAX, end = 0, bad = 0;

		for (unsigned int i = 0; i <= s.c.producers; i++) {
			start = std::min(start, s.outcome[i].start);
			end = std::max(end, s.outcome[i].end);
			bad |= s.outcome[i].bad;
		}
		if (bad)
			die("not what was sent: " + now_running);
		return {ticker.ns(end - start) * 1e-9, {}};
	}

	/*
	 *	producers --> ring --> consumer
	 */
	static Run throughput(const Case &c, uint64_t n)
	{
		Arena arena(c.processes);
		Owned<Shared> shared(c, std::max<uint64_t>(n / c.producers, 1));
		Owned<Q> queue(c.slots, c.producers);
		Outcome all = {};
		Run run;

		run_parties(c.producers + 1, c.processes, [&](unsigned int i) {
			if (i)
				produce(*queue, *shared, i);
			else if (c.producers > 1)
				consume<std::conditional_t<in_order<Q>, ManyProducers, AnyOrder>>(
					*queue, *shared);
			else
				consume<OneProducer>(*queue, *shared);
		});
		run = elapsed(*shared);
		n = shared->n * c.producers;
		for (unsigned int i = 1; i <= c.producers; i++)
			all.vain += shared->outcome[i].vain;
		run.values = {
			{"throughput", n / run.seconds, "events/s"},
			{"average_batch", double(n) / shared->outcome[0].calls, "events"},
			{"full", double(all.vain) / n, "ratio"},
			{"empty", double(shared->outcome[0].vain) / n, "ratio"},
		};
		return run;
	}

	/*
	 *	client --> ring --> server
	 *	       <-- ring <--
	 */
	static Run round_trip(const Case &c, uint64_t n)
	{
		Arena arena(c.processes);
		Owned<Shared> shared(c, n);
		Owned<Q> request(c.slots, c.producers), reply(c.slots, c.producers);
		Run run;

		run_parties(2, c.processes, [&](unsigned int client) {
			Sender to(client ? *request : *reply);
			Receiver from(client ? *reply : *request);
			Event<N> event;
			Outcome o = {};

			event.template fill<true>(0);
			shared->meet();
			for (uint64_t i = 1; i <= lap(c) + n; i++) {
				if (i == lap(c) + 1)
					o.start = ticker.now();
				if (client) {
					event.template fill<false>(i);
					opaque(event);
					while (!to.push(event))
						;
				}
				while (!from.pop(event))
					;
				opaque(event);
				o.bad |= event.template difference<false>(client ? i * 3 : i);
				if (!client) {
					event.template fill<false>(i * 3);
					opaque(event);
					while (!to.push(event))
						;
				}
			}
			o.end = ticker.now();
			shared->outcome[client] = o;
			shared->meet();
		});
		run = elapsed(*shared);
		run.values = {{"roundtrip", run.seconds / n * 1e9, "ns"}};
		return run;
	}

	/*
	 * Event i is due at a time that is known beforehand, and that is where its latency
	 * starts, however late the producer or the ring were for it: when one is held up,
	 * so are those that would have come meanwhile (no coordinated omission).
	 */
	static Run latency(const Case &c, uint64_t n)
	{
		static constexpr double percent[] = {50, 99, 99.9, 99.99, 100};
		static constexpr const char *name[] = {
			"latency_p50", "latency_p99", "latency_p999", "latency_p9999", "latency_max",
		};
		const double interval = double(ticker.ticks(1e9)) / c.rate;
		Arena arena(c.processes);
		Owned<Shared> shared(c, n);
		Owned<Q> queue(c.slots, c.producers);
		Run run;

		auto pacer = [&] {
			Sender to(*queue);
			Event<N> event;
			Outcome o = {};

			event.template fill<true>(0);
			shared->meet();
			send<true>(to, c, lap(c), lap(c), o);
			shared->epoch = ticker.now() + ticker.ticks(1e6);
			shared->meet();
			o.start = shared->epoch;
			for (uint64_t i = 1; i <= n; i++) {
				const uint64_t due = o.start + uint64_t(i * interval);

				event.template fill<false>(lap(c) + i);
				opaque(event);
				while (ticker.now() < due)
					;
				while (!to.push(event))
					;
			}
			o.end = ticker.now();
			shared->outcome[1] = o;
			shared->meet();
		};
		auto observer = [&] {
			Receiver from(*queue);
			OneProducer numbers;
			histogram h = {};
			Event<N> event;
			Outcome o = {};

			shared->meet();
			receive<true>(from, c, numbers, lap(c), o);
			shared->meet();
			o.start = shared->epoch;
			for (uint64_t i = 1; i <= n; i++) {
				const uint64_t due = o.start + uint64_t(i * interval);

				while (!from.pop(event))
					;
				o.end = ticker.now();
				opaque(event);
				o.bad |= event.template difference<false>(
					numbers.expect(event.word[0]));
				/* Before it was sent: the CPUs' clocks do not agree. */
				o.bad |= o.end < due;
				histogram_add(&h, ticker.ns(o.end - due));
			}
			for (unsigned int i = 0; i < 5; i++)
				o.percentile[i] = histogram_percentile(&h, percent[i]);
			shared->outcome[0] = o;
			shared->meet();
		};
		run_parties(2, c.processes, [&](unsigned int i) {
			if (i)
				pacer();
			else
				observer();
		});
		run = elapsed(*shared);
		for (unsigned int i = 0; i < 5; i++)
			run.values.push_back({name[i], shared->outcome[0].percentile[i], "ns"});
		return run;
	}

public:
	static bool can(const Case &c)
	{
		return (c.send == 1 || batches_in<Q, N>) && (c.receive == 1 || batches_out<Q, N>);
	}
	static Run run(const Case &c, uint64_t n)
	{
		switch (c.measure) {
		case Measure::throughput:
			return throughput(c, n);
		case Measure::round_trip:
			return round_trip(c, n);
		default:
			return latency(c, n);
		}
	}
};

/* Where a queue works between processes: its memory is all from the arena, or its own way. */
enum class Reach { threads, processes, both };

/*
 * A queue as a contender, for events of these sizes. Adapters have a namespace each, and
 * that has a name: to the linker, templates over what is in nameless ones look alike.
 */
template <template <unsigned int> class Queue, unsigned int... sizes>
class Queues : public Contender {
public:
	/* @slots: if it can have that many only */
	Queues(const char *name, bool many, Reach reach, unsigned int slots = 0)
		: Contender(name, many), reach_(reach), slots_(slots)
	{
	}
	bool can(const Case &c) const override
	{
		return c.many == many && c.measure != Measure::setup &&
		       (!slots_ || c.slots == slots_) &&
		       reach_ != (c.processes ? Reach::threads : Reach::processes) &&
		       ((c.bytes == sizes && Trial<Queue<sizes>, sizes>::can(c)) || ...);
	}
	Run run(const Case &c, uint64_t n) override
	{
		Run result;

		((c.bytes == sizes && (result = Trial<Queue<sizes>, sizes>::run(c, n), true)) ||
		 ...);
		return result;
	}

private:
	const Reach reach_;
	const unsigned int slots_;
};

#ifndef BENCH_SIZES
#define BENCH_SIZES 8, 64, 256, 1024, 4096
#endif
template <template <unsigned int> class Queue> using AllSizes = Queues<Queue, BENCH_SIZES>;

} /* namespace bench */

#endif /* SELFTESTS_BENCH_QUEUE_H */
