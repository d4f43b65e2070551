# java with threads.
exec 2>&1
command -v java >/dev/null && command -v javac >/dev/null || { echo "no java"; exit 77; }
cat > T.java <<'END'
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class T {
	public static void main(String[] args) throws Exception {
		ExecutorService ex = Executors.newFixedThreadPool(8);
		List<Future<Long>> fs = new ArrayList<>();
		for (int i = 1; i <= 16; i++) {
			final int n = i;
			fs.add(ex.submit(() -> { long s = 0; for (int k = 0; k < 1000000; k++) s += k % n; return s; }));
		}
		long sum = 0;
		for (Future<Long> f : fs) sum += f.get();
		ex.shutdown();
		System.out.println("sum " + sum);
		Path p = Paths.get("f.txt");
		Files.write(p, Collections.nCopies(1000, "line"));
		System.out.println(Files.readAllLines(p).size());
		Process c = new ProcessBuilder("sh", "-c", "echo child; exit 3").inheritIO().start();
		System.out.println("exit " + c.waitFor());
		byte[][] b = new byte[50][];
		for (int r = 0; r < 20; r++) for (int i = 0; i < 50; i++) b[i] = new byte[100000];
		System.gc();
		try { Object o = null; o.toString(); } catch (NullPointerException e) { System.out.println("null pointer"); }
		try { deep(0); } catch (StackOverflowError e) { System.out.println("stack overflow"); }
		Thread t = new Thread(() -> System.out.println("hook"));
		Runtime.getRuntime().addShutdownHook(t);
		System.exit(5);
	}
	static int deep(int n) { return deep(n + 1) + 1; }
}
END
javac T.java && java -Xmx128m T; echo "status $?"
