import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

/** Threads, locks, pools, garbage, and the exceptions that a JVM makes of faults of the processor. */
public class Hello {
	static int total;
	int field = 1;

	static synchronized void add() {
		total++;
	}

	static int depth(int n) {
		return depth(n + 1) + 1;
	}

	static Hello nothing() {
		return null;
	}

	public static void main(String[] args) throws Exception {
		Thread hello = new Thread(() -> System.out.println("hello from " + Thread.currentThread().getName()), "a thread");
		hello.start();
		hello.join();
		List<Thread> threads = new ArrayList<>();
		for (int i = 0; i < 8; i++) {
			Thread thread = new Thread(() -> {
				for (int k = 0; k < 10000; k++)
					add();
			});
			thread.start();
			threads.add(thread);
		}
		for (Thread thread : threads)
			thread.join();
		System.out.println("total " + total);
		int caught = 0;
		for (int i = 0; i < 20000; i++) {
			try {
				caught += nothing().field;
			} catch (NullPointerException e) {
				caught++;
			}
		}
		System.out.println("null " + caught);
		try {
			System.out.println(1 / (args.length - args.length));
		} catch (ArithmeticException e) {
			System.out.println(e.getMessage());
		}
		try {
			depth(0);
		} catch (StackOverflowError e) {
			System.out.println("deep");
		}
		var pool = Executors.newFixedThreadPool(4);
		List<Future<Integer>> results = new ArrayList<>();
		for (int i = 0; i < 10; i++) {
			int n = i;
			results.add(pool.submit(() -> n * n));
		}
		int sum = 0;
		for (var result : results)
			sum += result.get();
		pool.shutdown();
		System.out.println("sum " + sum + " " + pool.awaitTermination(10, TimeUnit.SECONDS));
		System.out.println("parallel " + IntStream.range(0, 100000).parallel().filter(n -> n % 7 == 0).count());
		var latch = new CountDownLatch(1);
		CompletableFuture.runAsync(latch::countDown);
		System.out.println("latch " + latch.await(10, TimeUnit.SECONDS));
		AtomicInteger made = new AtomicInteger();
		List<byte[]> kept = new ArrayList<>();
		for (int i = 0; i < 20000; i++) {
			kept.add(new byte[10000]);
			if (kept.size() > 100)
				kept.clear();
			made.incrementAndGet();
		}
		System.out.println("made " + made + " " + (Runtime.getRuntime().maxMemory() <= 64 << 20));
		Object lock = new Object();
		long start = System.nanoTime();
		synchronized (lock) {
			lock.wait(20);
		}
		System.out.println("waited " + (System.nanoTime() - start >= 19_000_000));
		Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("bye")));
		Thread.currentThread().setUncaughtExceptionHandler((thread, error) -> System.out.println(thread.getName() + " " + error.getMessage()));
		throw new IllegalStateException("not caught");
	}
}
