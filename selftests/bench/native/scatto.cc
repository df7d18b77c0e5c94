// SPDX-License-Identifier: GPL-2.0-only
/* scatto, without waiting; and spinning, or sleeping, in its own calls. */
#include <sys/stat.h>

#include <scatto.h>

#include "queue.hh"

namespace bench::with_scatto {

scatto_channel *create(uint32_t kind, uint32_t bytes, unsigned int slots, unsigned int producers)
{
	scatto_channel *ch;
	scatto_config cfg = {};

	cfg.size = sizeof(cfg);
	cfg.backend = in_kernel ? SCATTO_BACKEND_KERNEL : SCATTO_BACKEND_LOCAL;
	cfg.kind = kind;
	cfg.slot_size = bytes;
	cfg.capacity = slots;
	cfg.max_producers = kind == SCATTO_KIND_MPSC ? producers : 0;
	if (scatto_channel_create(&cfg, &ch))
		die("scatto_channel_create");
	return ch;
}

template <uint32_t kind, unsigned int N> class Channel {
public:
	Channel(unsigned int slots, unsigned int producers)
		: ch_(create(kind, N, slots, producers))
	{
	}
	~Channel() { scatto_channel_free(ch_); }

	class Sender {
	public:
		explicit Sender(Channel &to)
		{
			if (scatto_producer_attach(to.ch_, &p_))
				die("scatto_producer_attach");
		}
		~Sender() { scatto_producer_close(p_); }
		bool push(const Event<N> &event) { return !scatto_try_send(p_, &event); }
		unsigned int push(const Event<N> *events, unsigned int n)
		{
			return std::max(scatto_try_send_batch(p_, events, n), 0);
		}

	protected:
		scatto_producer *p_;
	};

	class Receiver {
	public:
		explicit Receiver(Channel &from)
		{
			if (scatto_consumer_attach(from.ch_, &c_))
				die("scatto_consumer_attach");
		}
		~Receiver() { scatto_consumer_close(c_); }
		bool pop(Event<N> &event) { return !scatto_try_recv(c_, &event); }
		unsigned int pop(Event<N> *events, unsigned int n)
		{
			return std::max(scatto_try_recv_batch(c_, events, n), 0);
		}

	protected:
		scatto_consumer *c_;
	};

private:
	scatto_channel *const ch_;
};

/*
 * The same with the calls that wait. With the adaptive strategy a consumer may sleep,
 * so that a producer has to look for that; this one spins so long that it never does.
 */
template <uint32_t kind, uint32_t strategy, unsigned int N> class Waiting : public Channel<kind, N> {
	using Base = Channel<kind, N>;
	static constexpr bool kSleeps = strategy == SCATTO_STRATEGY_BLOCK;

public:
	using Base::Base;

	class Sender : public Base::Sender {
	public:
		explicit Sender(Waiting &to) : Base::Sender(to)
		{
			scatto_producer_set_wait(this->p_, strategy);
			if (!kSleeps)
				scatto_producer_set_spin(this->p_, UINT32_MAX);
		}
		bool push(const Event<N> &event) { return !scatto_send(this->p_, &event); }
	};

	class Receiver : public Base::Receiver {
	public:
		explicit Receiver(Waiting &from) : Base::Receiver(from)
		{
			scatto_consumer_set_wait(this->c_, strategy);
			if (!kSleeps)
				scatto_consumer_set_spin(this->c_, UINT32_MAX);
		}
		~Receiver()
		{
			scatto_info info = {};

			info.size = sizeof(info);
			if (scatto_consumer_info(this->c_, &info) || (info.data_sleeps && !kSleeps))
				die("a consumer that spins has slept: " + now_running);
		}
		bool pop(Event<N> &event) { return !scatto_recv(this->c_, &event); }
	};
};

template <unsigned int N> using One = Channel<SCATTO_KIND_SPSC, N>;
template <unsigned int N> using Many = Channel<SCATTO_KIND_MPSC, N>;
template <unsigned int N> using OneSpin = Waiting<SCATTO_KIND_SPSC, SCATTO_STRATEGY_BUSY, N>;
template <unsigned int N> using OneAdaptive = Waiting<SCATTO_KIND_SPSC, SCATTO_STRATEGY_ADAPTIVE, N>;
template <unsigned int N> using ManySpin = Waiting<SCATTO_KIND_MPSC, SCATTO_STRATEGY_BUSY, N>;
template <unsigned int N> using ManyAdaptive = Waiting<SCATTO_KIND_MPSC, SCATTO_STRATEGY_ADAPTIVE, N>;

template <unsigned int N> using OneBlock = Waiting<SCATTO_KIND_SPSC, SCATTO_STRATEGY_BLOCK, N>;
template <unsigned int N> using ManyBlock = Waiting<SCATTO_KIND_MPSC, SCATTO_STRATEGY_BLOCK, N>;

AllSizes<One> one("scatto", false, Reach::both);
AllSizes<Many> many("scatto-mpsc", true, Reach::both);
AllSizes<OneBlock> one_block("scatto-block", false, Reach::processes);
AllSizes<ManyBlock> many_block("scatto-mpsc-block", true, Reach::processes);
/* For two parties: it does not yield. */
template <template <unsigned int> class Queue> class Spinning final : public Queues<Queue, 8> {
	using Base = Queues<Queue, 8>;

public:
	Spinning(const char *name, bool many) : Base(name, many, Reach::threads) {}
	bool can(const Case &c) const override { return Base::can(c) && !c.yields(); }
};

Spinning<OneSpin> one_spin("scatto-spin", false);
Spinning<OneAdaptive> one_adaptive("scatto-adaptive", false);
Spinning<ManySpin> many_spin("scatto-mpsc-spin", true);
Spinning<ManyAdaptive> many_adaptive("scatto-mpsc-adaptive", true);

/* What it takes until the first event can be sent, and the memory. */
class Setup final : public Contender {
public:
	using Contender::Contender;
	bool can(const Case &c) const override
	{
		return c.measure == Measure::setup && c.many == many && !in_kernel;
	}
	Run run(const Case &c, uint64_t) override
	{
		std::vector<scatto_producer *> producers(c.producers);
		scatto_consumer *consumer;
		scatto_channel *ch;
		struct stat st;
		uint64_t at[4];

		at[0] = ticker.now();
		ch = create(many ? SCATTO_KIND_MPSC : SCATTO_KIND_SPSC, c.bytes, c.slots,
			    c.producers);
		at[1] = ticker.now();
		if (scatto_consumer_attach(ch, &consumer))
			die("scatto_consumer_attach");
		at[2] = ticker.now();
		for (scatto_producer *&p : producers)
			if (scatto_producer_attach(ch, &p))
				die("scatto_producer_attach");
		at[3] = ticker.now();
		if (fstat(scatto_channel_fd(ch), &st))
			die("fstat");
		for (scatto_producer *p : producers)
			scatto_producer_close(p);
		scatto_consumer_close(consumer);
		scatto_channel_free(ch);
		return {ticker.ns(at[3] - at[0]) * 1e-9, {
			{"create", ticker.ns(at[1] - at[0]), "ns"},
			{"attach_consumer", ticker.ns(at[2] - at[1]), "ns"},
			{"attach_producer", ticker.ns(at[3] - at[2]) / c.producers, "ns"},
			{"memory", double(st.st_size), "bytes"},
		}};
	}
};

Setup one_setup("scatto", false);
Setup many_setup("scatto-mpsc", true);

} /* namespace bench::with_scatto */
