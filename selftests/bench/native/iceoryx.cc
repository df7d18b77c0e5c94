// SPDX-License-Identifier: GPL-2.0-only
/*
 * iceoryx from process to process, with its daemon RouDi. A publisher waits for a
 * subscriber whose queue is full, so that nothing is lost.
 */
#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_posh/popo/publisher.hpp>
#include <iceoryx_posh/popo/subscriber.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

#include "helper.hh"
#include "queue.hh"

namespace bench::with_iceoryx {

constexpr const char *kDaemon = "/usr/bin/iox-roudi";
constexpr unsigned int kMostSlots = iox::MAX_SUBSCRIBER_QUEUE_CAPACITY;

/* Each process of a run is one to the daemon too. */
void join()
{
	static pid_t joined;

	if (joined == getpid())
		return;
	joined = getpid();
	iox::log::LogManager::GetLogManager().SetDefaultLogLevel(
		iox::log::LogLevel::kError, iox::log::LogLevelOutput::kHideLogLevel);
	iox::runtime::PoshRuntime::initRuntime(
		{iox::cxx::TruncateToCapacity, "bench-" + std::to_string(joined)});
}

template <unsigned int N> class Topic {
	using Text = iox::capro::IdString_t;

public:
	Topic(unsigned int slots, unsigned int) : slots_(slots)
	{
		static unsigned int topics;

		std::snprintf(name_, sizeof(name_), "%u", topics++);
	}

	class Sender {
	public:
		explicit Sender(Topic &to) : publisher_((join(), to.description()), options()) {}
		bool push(const Event<N> &event)
		{
			/* The daemon introduces them to each other. */
			while (!met_ && !publisher_.hasSubscribers())
				usleep(1000);
			met_ = true;
			auto loan = publisher_.loan(event);

			if (loan.has_error())
				return false;
			loan.value().publish();
			return true;
		}

	private:
		static iox::popo::PublisherOptions options()
		{
			iox::popo::PublisherOptions o;

			o.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
			return o;
		}

		iox::popo::Publisher<Event<N>> publisher_;
		bool met_ = false;
	};

	class Receiver {
	public:
		explicit Receiver(Topic &from)
			: subscriber_((join(), from.description()), options(from.slots_))
		{
		}
		bool pop(Event<N> &event)
		{
			auto sample = subscriber_.take();

			if (sample.has_error())
				return false;
			event = *sample.value();
			return true;
		}

	private:
		static iox::popo::SubscriberOptions options(unsigned int slots)
		{
			iox::popo::SubscriberOptions o;

			o.queueCapacity = slots;
			o.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
			return o;
		}

		iox::popo::Subscriber<Event<N>> subscriber_;
	};

private:
	iox::capro::ServiceDescription description() const
	{
		return {"scatto", "bench", Text(iox::cxx::TruncateToCapacity, name_)};
	}

	const unsigned int slots_;
	char name_[16];
};

class Iceoryx final : public Queues<Topic, 8, 64> {
public:
	using Queues::Queues;
	bool can(const Case &c) const override
	{
		return Queues::can(c) && c.slots <= kMostSlots && !access(kDaemon, X_OK);
	}
	Run run(const Case &c, uint64_t n) override
	{
		if (!daemon_) {
			int null = open("/dev/null", O_RDWR | O_CLOEXEC);

			daemon_ = start_helper(null, null, null, {kDaemon, "-l", "off", "-m", "off"});
			close(null);
		}
		return Queues::run(c, n);
	}

private:
	pid_t daemon_ = 0;
};

Iceoryx iceoryx("iceoryx", false, Reach::processes);

} /* namespace bench::with_iceoryx */
