import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.LongStream;

/**
 * What a driver's program says to the runner, one JSON object a line, and what it hears;
 * ../python/speak.py has it in words.
 */
final class Speak {
    /** Milliseconds between two statements of one client. */
    static final long PAUSE = 40;
    /** Milliseconds that an application takes between the statements of a transaction. */
    static final long THINK = 30;
    /** How often a retry loop tries. */
    static final int TRIES = 10;
    /** Milliseconds before each further try. */
    static final long BACKOFF = 100;

    static final String INSERT = "INSERT INTO kept (key) VALUES (?)";
    static final String COUNT = "SELECT count(*) FROM kept WHERE key = ?";

    private static final AtomicLong NEXT = new AtomicLong(Long.parseLong(given("LAB_KEYS")));
    private static final Set<String> SEEN = ConcurrentHashMap.newKeySet();
    private static final Object WORD = new Object();
    private static long wakes;
    private static volatile boolean stopped;

    /** Something that works until the end. */
    interface Shape {
        void work(String shape) throws Exception;
    }

    /** Something that works on new keys. */
    interface OnKeys {
        void work(long[] keys) throws Exception;
    }

    private Speak() {}

    static String given(String name) {
        String value = System.getenv(name);
        return value == null ? "" : value;
    }

    static String port(String shape) {
        return given("LAB_PORT_" + shape.toUpperCase());
    }

    static String url(String shape) {
        return "jdbc:postgresql://" + given("LAB_HOST") + ":" + port(shape) + "/"
            + given("LAB_DATABASE") + "?sslmode=disable";
    }

    static boolean isStopped() {
        return stopped;
    }

    private static synchronized void say(String shape, String event, String further) {
        String line = "{\"shape\":" + quoted(shape) + ",\"event\":" + quoted(event) + further + "}";
        System.out.write((line + "\n").getBytes(StandardCharsets.UTF_8), 0,
            (line + "\n").getBytes(StandardCharsets.UTF_8).length);
        System.out.flush();
    }

    static void event(String shape, String event) {
        say(shape, event, "");
    }

    static void acknowledged(String shape, long... keys) {
        say(shape, "acknowledged", keys(keys));
    }

    static void refused(String shape, Throwable error, long... keys) {
        String code = error instanceof SQLException sql && sql.getSQLState() != null
            ? sql.getSQLState() : "";
        // pgjdbc has codes of its own for what the server has not said.
        boolean server = error instanceof org.postgresql.util.PSQLException said
            && said.getServerErrorMessage() != null;
        say(shape, "error", keys(keys) + ",\"sqlstate\":" + quoted(server ? code : "")
            + ",\"text\":" + quoted(error.toString()));
    }

    static void retried(String shape, long... keys) {
        say(shape, "retried", keys(keys));
    }

    static void looked(String shape, long key, long found) {
        say(shape, "read", keys(key) + ",\"found\":" + found);
    }

    static void heard(String shape, String text) {
        say(shape, "heard", ",\"text\":" + quoted(text));
    }

    static void connection(String shape, long id) {
        if (SEEN.add(shape + " " + id)) {
            say(shape, "connection", ",\"id\":\"" + id + "\"");
        }
    }

    private static String keys(long... keys) {
        return ",\"keys\":" + Arrays.toString(keys);
    }

    private static String quoted(String text) {
        return "\"" + text.chars()
            .mapToObj(c -> c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", c)
                : String.valueOf((char) c))
            .collect(Collectors.joining()) + "\"";
    }

    /** Works on new keys with a pause in between, until the end. */
    static void each(int count, OnKeys work) throws Exception {
        while (!stopped) {
            long first = NEXT.getAndAdd(count);
            work.work(LongStream.range(first, first + count).toArray());
            pause(PAUSE);
        }
    }

    /** Waits, at most until the end. */
    static void pause(long milliseconds) throws InterruptedException {
        synchronized (WORD) {
            if (!stopped) {
                WORD.wait(milliseconds);
            }
        }
    }

    /** Waits until the runner has said "wake" more often than seen; -1 at the end. */
    static long woken(long seen) throws InterruptedException {
        synchronized (WORD) {
            while (wakes <= seen && !stopped) {
                WORD.wait();
            }
            return stopped ? -1 : wakes;
        }
    }

    /** Runs four of this at once and waits for all. */
    static void together(int count, Shape work, String shape) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (int at = 0; at < count; at++) {
            threads.add(started(shape, work));
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static Thread started(String shape, Shape work) {
        Thread thread = new Thread(() -> {
            try {
                work.work(shape);
            } catch (Exception error) { // the runner judges
                say(shape, "broken", ",\"text\":" + quoted(error.toString()));
            }
        });
        thread.start();
        return thread;
    }

    /** Runs each shape that has a port. */
    static void run(LinkedHashMap<String, Shape> shapes) throws InterruptedException {
        Thread hearing = new Thread(Speak::hear);
        hearing.setDaemon(true);
        hearing.start();
        List<Thread> threads = new ArrayList<>();
        for (Map.Entry<String, Shape> one : shapes.entrySet()) {
            if (!port(one.getKey()).isEmpty()) {
                threads.add(started(one.getKey(), one.getValue()));
            }
        }
        for (Thread thread : threads) {
            thread.join();
        }
        event("", "end");
        System.exit(0);
    }

    private static void hear() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            String line;
            while ((line = in.readLine()) != null && !line.equals("stop")) {
                synchronized (WORD) {
                    wakes++;
                    WORD.notifyAll();
                }
            }
        } catch (IOException error) {
            // The same as the end of input.
        }
        synchronized (WORD) {
            stopped = true;
            WORD.notifyAll();
        }
    }
}
