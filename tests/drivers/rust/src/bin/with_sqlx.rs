//! sqlx with its own pool.

use everline_drivers::{self as speak, COUNT, Ear, Escape, INSERT, Work};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, Error, PgPool};

fn options(shape: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&speak::given("LAB_HOST"))
        .port(speak::port(shape).unwrap_or(0))
        .username(&speak::given("LAB_USER"))
        .password(&speak::given("LAB_PASSWORD"))
        .database(&speak::given("LAB_DATABASE"))
        .ssl_mode(PgSslMode::Disable)
}

async fn pools(shape: &'static str, size: u32) -> Result<PgPool, Error> {
    let pool = PgPoolOptions::new().max_connections(size).after_connect(move |_, _| {
        speak::connected(shape);
        Box::pin(async { Ok(()) })
    });
    pool.connect_with(options(shape)).await
}

fn code(error: &Error) -> String {
    let said = error.as_database_error().and_then(|said| said.code());
    said.unwrap_or_default().into_owned()
}

fn refused(shape: &str, error: &Error, keys: &[i64]) {
    speak::refused(shape, error, &code(error), keys);
}

fn autocommit(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        let mut connection = PgConnection::connect_with(&options(shape)).await?;
        speak::event(shape, "ready");
        while !ear.is_stopped() {
            let keys = speak::keys(1);
            match sqlx::query(INSERT).bind(keys[0]).execute(&mut connection).await {
                Ok(_) => speak::acknowledged(shape, &keys),
                Err(error) => refused(shape, &error, &keys),
            }
            tokio::time::sleep(speak::PAUSE).await;
        }
        Ok(())
    })
}

async fn in_transaction(pool: &PgPool, keys: &[i64]) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    for key in keys {
        sqlx::query(INSERT).bind(key).execute(&mut *transaction).await?;
        let count = sqlx::query_scalar::<_, i64>(COUNT).bind(key);
        count.fetch_one(&mut *transaction).await?;
        tokio::time::sleep(speak::THINK).await;
    }
    transaction.commit().await
}

/// The usual loop: the whole transaction again as long as it could not be serialized.
async fn serialized(shape: &str, pool: &PgPool, keys: &[i64]) -> Result<(), Error> {
    for _ in 1..speak::TRIES {
        match in_transaction(pool, keys).await {
            Err(error) if code(&error) == "40001" => {
                speak::retried(shape, keys);
                tokio::time::sleep(speak::BACKOFF).await;
            }
            ended => return ended,
        }
    }
    in_transaction(pool, keys).await
}

fn transaction(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        let pool = pools(shape, 2).await?;
        speak::event(shape, "ready");
        while !ear.is_stopped() {
            let keys = speak::keys(2);
            match serialized(shape, &pool, &keys).await {
                Ok(()) => speak::acknowledged(shape, &keys),
                Err(error) => refused(shape, &error, &keys),
            }
            tokio::time::sleep(speak::PAUSE).await;
        }
        Ok(())
    })
}

async fn work(shape: &'static str, pool: PgPool, ear: Ear) -> Result<(), Escape> {
    while !ear.is_stopped() {
        let keys = speak::keys(1);
        let kept = async {
            sqlx::query(INSERT).bind(keys[0]).execute(&pool).await?;
            speak::acknowledged(shape, &keys);
            let count = sqlx::query_scalar::<_, i64>(COUNT).bind(keys[0]);
            count.fetch_one(&pool).await
        };
        match kept.await {
            Ok(found) => speak::looked(shape, keys[0], found),
            Err(error) => refused(shape, &error, &keys),
        }
        tokio::time::sleep(speak::PAUSE).await;
    }
    Ok(())
}

fn pool(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        let pool = pools(shape, 4).await?;
        speak::event(shape, "ready");
        let working = (0..4).map(|_| work(shape, pool.clone(), ear.clone()));
        futures_util::future::try_join_all(working).await?;
        Ok(())
    })
}

fn listen(shape: &'static str, mut ear: Ear) -> Work {
    Box::pin(async move {
        let pool = pools(shape, 1).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen("news").await?;
        speak::event(shape, "ready");
        loop {
            tokio::select! {
                () = ear.stopped() => return Ok(()),
                news = listener.try_recv() => match news {
                    Ok(Some(news)) => speak::heard(shape, news.payload()),
                    Ok(None) => speak::refused(shape, &"the listener lost its connection", "", &[]),
                    Err(error) => refused(shape, &error, &[]),
                },
            }
        }
    })
}

fn idle(shape: &'static str, mut ear: Ear) -> Work {
    Box::pin(async move {
        let mut connection = PgConnection::connect_with(&options(shape)).await?;
        speak::event(shape, "ready");
        let mut seen = 0;
        while ear.woken(&mut seen).await {
            match sqlx::query("SELECT 1").execute(&mut connection).await {
                Ok(_) => speak::event(shape, "woke"),
                Err(error) => refused(shape, &error, &[]),
            }
        }
        Ok(())
    })
}

fn main() {
    speak::run(&[
        ("autocommit", autocommit),
        ("transaction", transaction),
        ("pool", pool),
        ("listen", listen),
        ("idle", idle),
    ]);
}
