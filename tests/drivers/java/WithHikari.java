import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.LinkedHashMap;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** pgjdbc with HikariCP. */
final class WithHikari {
    private WithHikari() {}

    private static HikariDataSource pools(String shape, int size) {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(Speak.url(shape));
        config.setUsername(Speak.given("LAB_USER"));
        config.setPassword(Speak.given("LAB_PASSWORD"));
        config.setMaximumPoolSize(size);
        return new HikariDataSource(config);
    }

    private static Connection connect(String shape) throws SQLException {
        Connection connection = DriverManager.getConnection(
            Speak.url(shape), Speak.given("LAB_USER"), Speak.given("LAB_PASSWORD"));
        note(shape, connection);
        return connection;
    }

    private static void note(String shape, Connection connection) throws SQLException {
        Speak.connection(shape, connection.unwrap(PGConnection.class).getBackendPID());
    }

    private static void insert(Connection connection, long key) throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement(Speak.INSERT)) {
            insert.setLong(1, key);
            insert.executeUpdate();
        }
    }

    private static long count(Connection connection, long key) throws SQLException {
        try (PreparedStatement count = connection.prepareStatement(Speak.COUNT)) {
            count.setLong(1, key);
            try (ResultSet rows = count.executeQuery()) {
                rows.next();
                return rows.getLong(1);
            }
        }
    }

    private static void autocommit(String shape) throws Exception {
        try (Connection connection = connect(shape)) {
            Speak.event(shape, "ready");
            Speak.each(1, keys -> {
                try {
                    insert(connection, keys[0]);
                    Speak.acknowledged(shape, keys);
                } catch (SQLException error) {
                    Speak.refused(shape, error, keys);
                }
            });
        }
    }

    private static void inTransaction(String shape, HikariDataSource pool, long[] keys)
            throws Exception {
        try (Connection connection = pool.getConnection()) {
            note(shape, connection);
            connection.setAutoCommit(false);
            try {
                for (long key : keys) {
                    insert(connection, key);
                    count(connection, key);
                    Speak.pause(Speak.THINK);
                }
                connection.commit();
            } catch (SQLException error) {
                if (!connection.isClosed()) {
                    connection.rollback();
                }
                throw error;
            }
        }
    }

    /** The usual loop: the whole transaction again as long as it could not be serialized. */
    private static void serialized(String shape, HikariDataSource pool, long[] keys)
            throws Exception {
        for (int tried = 1;; tried++) {
            try {
                inTransaction(shape, pool, keys);
                return;
            } catch (SQLException error) {
                if (!"40001".equals(error.getSQLState()) || tried == Speak.TRIES) {
                    throw error;
                }
                Speak.retried(shape, keys);
                Speak.pause(Speak.BACKOFF);
            }
        }
    }

    private static void transaction(String shape) throws Exception {
        try (HikariDataSource pool = pools(shape, 2)) {
            pool.getConnection().close();
            Speak.event(shape, "ready");
            Speak.each(2, keys -> {
                try {
                    serialized(shape, pool, keys);
                    Speak.acknowledged(shape, keys);
                } catch (SQLException error) {
                    Speak.refused(shape, error, keys);
                }
            });
        }
    }

    private static void pool(String shape) throws Exception {
        try (HikariDataSource pool = pools(shape, 4)) {
            pool.getConnection().close();
            Speak.event(shape, "ready");
            Speak.together(4, same -> Speak.each(1, keys -> {
                try (Connection connection = pool.getConnection()) {
                    note(shape, connection);
                    insert(connection, keys[0]);
                    Speak.acknowledged(shape, keys);
                    Speak.looked(shape, keys[0], count(connection, keys[0]));
                } catch (SQLException error) {
                    Speak.refused(shape, error, keys);
                }
            }), shape);
        }
    }

    /** From its fifth use on a statement of pgjdbc is a named one. */
    private static void prepared(String shape) throws Exception {
        try (Connection connection = connect(shape);
                PreparedStatement insert = connection.prepareStatement(Speak.INSERT)) {
            Speak.event(shape, "ready");
            Speak.each(1, keys -> {
                try {
                    insert.setLong(1, keys[0]);
                    insert.executeUpdate();
                    Speak.acknowledged(shape, keys);
                } catch (SQLException error) {
                    Speak.refused(shape, error, keys);
                }
            });
        }
    }

    private static void listen(String shape) throws Exception {
        try (Connection connection = connect(shape)) {
            try (Statement statement = connection.createStatement()) {
                statement.execute("LISTEN news");
            }
            PGConnection listener = connection.unwrap(PGConnection.class);
            Speak.event(shape, "ready");
            while (!Speak.isStopped()) {
                try {
                    PGNotification[] news = listener.getNotifications(300);
                    for (PGNotification one : news == null ? new PGNotification[0] : news) {
                        Speak.heard(shape, one.getParameter());
                    }
                } catch (SQLException error) {
                    Speak.refused(shape, error);
                    Speak.pause(Speak.BACKOFF);
                }
            }
        }
    }

    private static void idle(String shape) throws Exception {
        try (Connection connection = connect(shape)) {
            Speak.event(shape, "ready");
            for (long seen = 0; (seen = Speak.woken(seen)) >= 0;) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute("SELECT 1");
                    Speak.event(shape, "woke");
                } catch (SQLException error) {
                    Speak.refused(shape, error);
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        LinkedHashMap<String, Speak.Shape> shapes = new LinkedHashMap<>();
        shapes.put("autocommit", WithHikari::autocommit);
        shapes.put("transaction", WithHikari::transaction);
        shapes.put("pool", WithHikari::pool);
        shapes.put("prepared", WithHikari::prepared);
        shapes.put("listen", WithHikari::listen);
        shapes.put("idle", WithHikari::idle);
        Speak.run(shapes);
    }
}
