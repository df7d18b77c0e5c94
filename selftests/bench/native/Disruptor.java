// SPDX-License-Identifier: GPL-2.0-only
/*
 * The LMAX Disruptor as its users have it: preallocated events, next() and publish() in
 * the producers, a BatchEventProcessor that busy-spins (yields with several producers)
 * as consumer. It always handles whatever is there before it moves its sequence on.
 * Before next(), which sleeps when there is no room, a producer spins until there is.
 *
 * See disruptor.cc for who talks to this, and queue.hh for what is sent and checked.
 */
import com.lmax.disruptor.*;
import com.lmax.disruptor.dsl.ProducerType;
import java.io.*;
import java.util.concurrent.CyclicBarrier;
import org.HdrHistogram.Histogram;

public class Disruptor {
	static final int THROUGHPUT = 0, ROUND_TRIP = 1, LATENCY = 2;
	static final int FILLS = 1, FLOWS = 2;
	static final int PRODUCER_SHIFT = 48;

	static BufferedReader in = new BufferedReader(new InputStreamReader(System.in));

	static final class Event {
		final long[] word;
		Event(int words) { word = new long[words]; }
	}

	/* The case. */
	final int measure, producers, words, send, slots, regime, rate;
	final boolean many;
	final long n, lap;

	final RingBuffer<Event> ring, reply;
	final CyclicBarrier barrier;
	final Histogram histogram = new Histogram(3600L * 1000000000, 3);
	long[] vain;
	volatile long start, end;
	volatile String failed;
	static volatile long worked;
	/* In the threads' names: those of the run before may not be gone yet. */
	static int runs;

	Disruptor(String[] arg) {
		measure = Integer.parseInt(arg[0]);
		many = arg[1].equals("1");
		producers = Integer.parseInt(arg[2]);
		words = Integer.parseInt(arg[3]) / 8;
		send = Integer.parseInt(arg[4]);
		slots = Integer.parseInt(arg[5]);
		regime = Integer.parseInt(arg[6]);
		rate = Integer.parseInt(arg[7]);
		n = Math.max(Long.parseLong(arg[8]) / producers, 1);
		lap = 2 * slots / producers + 1;
		vain = new long[8 * (producers + 1)];
		barrier = new CyclicBarrier(producers + 1);
		ring = ring();
		reply = measure == ROUND_TRIP ? ring() : null;
	}

	RingBuffer<Event> ring() {
		return RingBuffer.create(many ? ProducerType.MULTI : ProducerType.SINGLE,
					 () -> new Event(words), slots,
					 producers > 1 ? new YieldingWaitStrategy() : new BusySpinWaitStrategy());
	}

	static long pattern(long number, int i) { return number ^ i * 0x9e3779b97f4a7c15L; }

	void meet() {
		try {
			barrier.await();
		} catch (Exception e) {
			throw new RuntimeException(e);
		}
	}

	static void work() {
		long x = 1;

		for (int i = 0; i < 50; i++)
			x = x * 6364136223846793005L + 1442695040888963407L;
		worked = x;
	}

	/* Events from a buffer of our own into the ring. */
	final class Sender {
		final RingBuffer<Event> to;
		final long[] event = new long[words];
		final int me;

		Sender(RingBuffer<Event> to, int me) {
			this.to = to;
			this.me = me;
			for (int i = 0; i < words; i++)
				event[i] = i;
		}

		void fill(long number, boolean eachWord) {
			for (int i = eachWord ? 0 : words - 1; i < words; i++)
				event[i] = pattern(number, i);
			event[0] = number;
		}

		void send(long last, long n, int batch, boolean eachWord) {
			long waits = 0;

			for (long i = last - n; i < last;) {
				int size = (int)Math.min(Math.min(batch, slots), last - i);

				while (!to.hasAvailableCapacity(size)) {
					waits++;
					if (producers > 1)
						Thread.yield();
				}
				long hi = to.next(size);

				for (long seq = hi - size + 1; seq <= hi; seq++) {
					if (regime == FLOWS)
						work();
					fill(++i, eachWord);
					long[] slot = to.get(seq).word;

					for (int k = 0; k < words; k++)
						slot[k] = event[k];
				}
				to.publish(hi - size + 1, hi);
			}
			vain[8 * me] = waits;
		}
	}

	/* What each handler has: a copy of the event, and the number it must have. */
	abstract class Handler implements EventHandler<Event> {
		final long[] event = new long[words];
		BatchEventProcessor<Event> processor;
		long seen, batches, bad;

		void take(Event from, long number, boolean eachWord) {
			long[] slot = from.word;

			for (int k = 0; k < words; k++)
				event[k] = slot[k];
			for (int i = eachWord ? 0 : words - 1; i < words; i++)
				bad |= event[i] ^ pattern(number, i);
			bad |= event[0] ^ number;
			seen++;
		}

		void finish() {
			end = System.nanoTime();
			if (bad != 0)
				failed = "not what was sent";
			processor.halt();
		}
	}

	final class Consumer extends Handler {
		final long[] last = new long[producers];

		public void onEvent(Event from, long sequence, boolean endOfBatch) {
			long number = from.word[0], who = number >>> PRODUCER_SHIFT;
			boolean before = seen < lap * producers;

			if (who < producers)
				number = who << PRODUCER_SHIFT | ++last[(int)who];
			else
				bad = 1;
			take(from, number, before);
			if (regime == FILLS)
				work();
			if (endOfBatch && !before)
				batches++;
			if (seen == lap * producers)
				meet();
			else if (seen == (lap + n) * producers)
				finish();
		}
	}

	final class Observer extends Handler {
		public void onEvent(Event from, long sequence, boolean endOfBatch) {
			long now = System.nanoTime(), i = seen + 1 - lap;

			take(from, seen + 1, i <= 0);
			if (i == 0)
				meet();
			else if (i > 0)
				histogram.recordValue(Math.max(now - start - due(i), 0));
			if (i == n)
				finish();
		}
	}

	final class Server extends Handler {
		final Sender to = new Sender(reply, 0);

		public void onEvent(Event from, long sequence, boolean endOfBatch) {
			take(from, seen + 1, false);
			to.send(seen * 3, 1, 1, false);
			if (seen == lap + n)
				processor.halt();
			if (bad != 0)
				failed = "not what was sent";
		}
	}

	final class Client extends Handler implements LifecycleAware {
		final Sender to = new Sender(ring, 1);

		public void onStart() { to.send(1, 1, 1, false); }
		public void onShutdown() {}
		public void onEvent(Event from, long sequence, boolean endOfBatch) {
			take(from, (seen + 1) * 3, false);
			if (seen == lap)
				start = System.nanoTime();
			if (seen == lap + n)
				finish();
			else
				to.send(seen + 1, 1, 1, false);
		}
	}

	long due(long i) { return (long)(i * 1e9 / rate); }

	void produce(int me) {
		long base = (long)(me - 1) << PRODUCER_SHIFT;
		Sender to = new Sender(ring, me);

		to.send(base + lap, lap, 1, true);
		if (measure == LATENCY) {
			start = System.nanoTime() + 1000000;
			meet();
			for (long i = 1; i <= n; i++) {
				while (System.nanoTime() - start < due(i))
					;
				to.send(lap + i, 1, 1, false);
			}
			return;
		}
		meet();
		/* The first of them starts the clock. */
		synchronized (this) {
			if (start == 0)
				start = System.nanoTime();
		}
		to.send(base + lap + n, n, send, false);
	}

	BatchEventProcessor<Event> processor(RingBuffer<Event> ring, Handler handler) {
		BatchEventProcessor<Event> p = new BatchEventProcessor<>(ring, ring.newBarrier(), handler);

		p.setExceptionHandler(new FatalExceptionHandler());
		ring.addGatingSequences(p.getSequence());
		handler.processor = p;
		return p;
	}

	void run() throws Exception {
		boolean trip = measure == ROUND_TRIP;
		Handler handler = trip ? new Server() : measure == LATENCY ? new Observer() : new Consumer();
		BatchEventProcessor<Event> consumer = processor(ring, handler);
		BatchEventProcessor<Event> client = trip ? processor(reply, new Client()) : null;
		Thread[] party = new Thread[producers + 1];
		CyclicBarrier pinned = new CyclicBarrier(producers + 2);

		for (int i = 0; i <= producers; i++) {
			final int me = i;
			Runnable body = me == 0 ? consumer : trip ? client : () -> produce(me);

			party[i] = new Thread(() -> {
				try {
					pinned.await();
					pinned.await();
				} catch (Exception e) {
					throw new RuntimeException(e);
				}
				body.run();
			}, "run" + runs + "-" + i);
			party[i].start();
		}
		System.gc();
		/* Once all run they have their names. */
		pinned.await();
		System.out.println(runs++);
		in.readLine();
		pinned.await();
		for (Thread t : party)
			t.join();
		if (failed != null) {
			System.out.println(failed);
			return;
		}
		answer(handler.batches);
	}

	void answer(long batches) {
		double ns = end - start;
		long total = n * producers, waits = 0;

		for (int i = 1; i <= producers; i++)
			waits += vain[8 * i];
		if (measure == ROUND_TRIP)
			System.out.printf("%g roundtrip %g ns%n", ns * 1e-9, ns / n);
		else if (measure == THROUGHPUT)
			System.out.printf("%g throughput %g events/s average_batch %g events full %g ratio%n",
					  ns * 1e-9, total / ns * 1e9, (double)total / batches,
					  (double)waits / total);
		else
			System.out.printf("%g latency_p50 %d ns latency_p99 %d ns latency_p999 %d ns " +
					  "latency_p9999 %d ns latency_max %d ns%n", ns * 1e-9,
					  histogram.getValueAtPercentile(50),
					  histogram.getValueAtPercentile(99),
					  histogram.getValueAtPercentile(99.9),
					  histogram.getValueAtPercentile(99.99),
					  histogram.getMaxValue());
	}

	public static void main(String[] args) throws Exception {
		String line;

		java.util.Locale.setDefault(java.util.Locale.ROOT);
		while ((line = in.readLine()) != null)
			new Disruptor(line.split(" ")).run();
	}
}
