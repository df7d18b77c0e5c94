// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel has for processes that send each other events. Whoever finds it full,
 * or empty, tries again, as with all queues here; with "-block" he sleeps.
 *
 * There is room for the bytes of as many events as a ring has slots, as far as the system
 * lets us.
 */
#include <fcntl.h>
#include <mqueue.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "queue.hh"

namespace bench::with_ipc {

enum class Kind { pipe, stream, seqpacket, mqueue };

struct Ends {
	int in = -1, out = -1;
};

bool open_pipe(Ends &ends, bool blocks, int bytes)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | (blocks ? 0 : O_NONBLOCK)))
		return false;
	fcntl(fd[0], F_SETPIPE_SZ, bytes);
	ends = {fd[0], fd[1]};
	return true;
}

bool open_sockets(Ends &ends, bool blocks, int type, int bytes)
{
	int fd[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | (blocks ? 0 : SOCK_NONBLOCK), 0, fd))
		return false;
	if (setsockopt(fd[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	ends = {fd[0], fd[1]};
	return true;
}

bool open_mqueue(Ends &ends, bool blocks, long slots, long bytes)
{
	static const rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
	const std::string name = "/scatto-bench-" + std::to_string(getpid());
	mq_attr attr = {};

	attr.mq_msgsize = bytes;
	setrlimit(RLIMIT_MSGQUEUE, &most);
	/* Without privileges ten is what there usually is. */
	for (long room : {slots, 10L}) {
		attr.mq_maxmsg = room;
		ends.in = ends.out = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC |
					     (blocks ? 0 : O_NONBLOCK), 0600, &attr);
		mq_unlink(name.c_str());
		if (ends.in >= 0)
			return true;
	}
	return false;
}

bool open_ends(Ends &ends, Kind kind, bool blocks, unsigned int slots, unsigned int bytes)
{
	/* A socket's packets are charged with what they are kept in. */
	const unsigned int packet = 512;

	switch (kind) {
	case Kind::pipe:
		return open_pipe(ends, blocks, slots * bytes);
	case Kind::stream:
		return open_sockets(ends, blocks, SOCK_STREAM, slots * (bytes + packet));
	case Kind::seqpacket:
		return open_sockets(ends, blocks, SOCK_SEQPACKET, slots * (bytes + packet));
	default:
		return open_mqueue(ends, blocks, slots, bytes);
	}
}

void close_ends(const Ends &ends)
{
	close(ends.in);
	if (ends.out != ends.in)
		close(ends.out);
}

/* Which is measured now. */
Kind kind;
bool blocks;

/* @done: what a system call has returned; 0 when it is to be tried again. */
size_t moved(ssize_t done)
{
	if (done > 0)
		return done;
	if (!done || (errno != EAGAIN && errno != EINTR))
		die(now_running + ": " + std::strerror(errno));
	return 0;
}

template <unsigned int N> class Channel {
public:
	Channel(unsigned int slots, unsigned int)
	{
		if (!open_ends(ends_, kind, blocks, slots, N))
			die(now_running + ": " + std::strerror(errno));
	}
	~Channel() { close_ends(ends_); }

	class Sender {
	public:
		explicit Sender(Channel &to) : fd_(to.ends_.out) {}
		bool push(const Event<N> &event) { return push(&event, 1); }
		unsigned int push(const Event<N> *events, unsigned int n)
		{
			if (kind == Kind::mqueue)
				return !mq_send(fd_, bytes(events), N, 0) || moved(-1);
			part_ += moved(write(fd_, bytes(events) + part_, n * N - part_));
			n = part_ / N;
			part_ %= N;
			return n;
		}

	private:
		static const char *bytes(const Event<N> *events)
		{
			return reinterpret_cast<const char *>(events);
		}

		const int fd_;
		size_t part_ = 0;	/* of the first event has gone before */
	};

	class Receiver {
	public:
		explicit Receiver(Channel &from) : fd_(from.ends_.in) {}
		bool pop(Event<N> &event) { return pop(&event, 1); }
		unsigned int pop(Event<N> *events, unsigned int n)
		{
			char *to = reinterpret_cast<char *>(events);

			if (kind == Kind::mqueue)
				return moved(mq_receive(fd_, to, N, nullptr)) != 0;
			std::memcpy(to, &begun_, part_);
			part_ += moved(read(fd_, to + part_, n * N - part_));
			n = part_ / N;
			part_ %= N;
			std::memcpy(&begun_, to + n * N, part_);
			return n;
		}

	private:
		const int fd_;
		Event<N> begun_;
		size_t part_ = 0;	/* of it are there */
	};

private:
	Ends ends_;
};

class Ipc final : public AllSizes<Channel> {
public:
	Ipc(const char *name, bool many, Kind kind, bool blocks)
		: AllSizes<Channel>(name, many, Reach::processes), kind_(kind), blocks_(blocks)
	{
	}
	bool can(const Case &c) const override
	{
		Ends ends;

		/* It is the same for one producer and for many: once is enough. */
		if (!AllSizes<Channel>::can(c) || (many && c.measure != Measure::throughput))
			return false;
		/* A packet is an event. */
		if (kind_ >= Kind::seqpacket && (c.send != 1 || c.receive != 1))
			return false;
		if (!open_ends(ends, kind_, blocks_, c.slots, c.bytes))
			return false;
		close_ends(ends);
		return true;
	}
	Run run(const Case &c, uint64_t n) override
	{
		kind = kind_;
		blocks = blocks_;
		return AllSizes<Channel>::run(c, n);
	}

private:
	const Kind kind_;
	const bool blocks_;
};

struct Both {
	Both(const char *name, const char *block, Kind kind)
		: one(name, false, kind, false), one_block(block, false, kind, true),
		  many(name, true, kind, false), many_block(block, true, kind, true)
	{
	}

	Ipc one, one_block, many, many_block;
};

Both pipes("pipe", "pipe-block", Kind::pipe);
Both streams("socketpair-stream", "socketpair-stream-block", Kind::stream);
Both seqpackets("socketpair-seqpacket", "socketpair-seqpacket-block", Kind::seqpacket);
Both mqueues("mqueue", "mqueue-block", Kind::mqueue);

} /* namespace bench::with_ipc */
