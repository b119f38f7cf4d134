//! tokio-postgres, with deadpool as its pool.

use std::sync::Arc;

use deadpool_postgres::{Hook, Manager, ManagerConfig, Pool, RecyclingMethod};
use everline_drivers::{self as speak, COUNT, Ear, Escape, INSERT, Work};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

fn config(shape: &str) -> Config {
    let mut config = Config::new();
    config.host(speak::given("LAB_HOST")).port(speak::port(shape).unwrap_or(0));
    config.user(speak::given("LAB_USER")).password(speak::given("LAB_PASSWORD"));
    config.dbname(speak::given("LAB_DATABASE"));
    config
}

fn refused(shape: &str, error: &Error, keys: &[i64]) {
    let code = error.code().map_or("", |code| code.code());
    let text = match error.as_db_error() {
        Some(said) => said.to_string(),
        None => format!("{error:?}"),
    };
    speak::refused(shape, &text, code, keys);
}

async fn connect(shape: &str) -> Result<Client, Error> {
    let (client, connection) = config(shape).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn insert(shape: &str, client: &Client, keys: &[i64]) -> Result<(), Error> {
    for key in keys {
        client.execute(INSERT, &[key]).await?;
    }
    speak::acknowledged(shape, keys);
    Ok(())
}

fn autocommit(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        let client = connect(shape).await?;
        speak::event(shape, "ready");
        while !ear.is_stopped() {
            let keys = speak::keys(1);
            if let Err(error) = insert(shape, &client, &keys).await {
                refused(shape, &error, &keys);
            }
            tokio::time::sleep(speak::PAUSE).await;
        }
        Ok(())
    })
}

async fn in_transaction(client: &mut Client, keys: &[i64]) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    for key in keys {
        transaction.execute(INSERT, &[key]).await?;
        transaction.query_one(COUNT, &[key]).await?;
        tokio::time::sleep(speak::THINK).await;
    }
    transaction.commit().await
}

/// The usual loop: the whole transaction again as long as it could not be serialized.
async fn serialized(shape: &str, client: &mut Client, keys: &[i64]) -> Result<(), Error> {
    for _ in 1..speak::TRIES {
        match in_transaction(client, keys).await {
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                speak::retried(shape, keys);
                tokio::time::sleep(speak::BACKOFF).await;
            }
            ended => return ended,
        }
    }
    in_transaction(client, keys).await
}

fn transaction(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        let mut client = connect(shape).await?;
        speak::event(shape, "ready");
        while !ear.is_stopped() {
            let keys = speak::keys(2);
            match serialized(shape, &mut client, &keys).await {
                Ok(()) => speak::acknowledged(shape, &keys),
                Err(error) => refused(shape, &error, &keys),
            }
            tokio::time::sleep(speak::PAUSE).await;
        }
        Ok(())
    })
}

async fn work(shape: &'static str, pool: Pool, ear: Ear) -> Result<(), Escape> {
    while !ear.is_stopped() {
        let keys = speak::keys(1);
        let client = pool.get().await?;
        let looked = match insert(shape, &client, &keys).await {
            Ok(()) => client.query_one(COUNT, &[&keys[0]]).await.map(|row| row.get::<_, i64>(0)),
            Err(error) => Err(error),
        };
        match looked {
            Ok(found) => speak::looked(shape, keys[0], found),
            Err(error) => refused(shape, &error, &keys),
        }
        drop(client);
        tokio::time::sleep(speak::PAUSE).await;
    }
    Ok(())
}

fn pool(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        // Verified: each connection is tried with an empty statement when it is taken.
        let recycling_method = RecyclingMethod::Verified;
        let manager = ManagerConfig { recycling_method };
        let manager = Manager::from_config(config(shape), NoTls, manager);
        let made = Hook::sync_fn(move |_, _| {
            speak::connected(shape);
            Ok(())
        });
        let pool = Pool::builder(manager).max_size(4).post_create(made).build()?;
        drop(pool.get().await?);
        speak::event(shape, "ready");
        let working = (0..4).map(|_| work(shape, pool.clone(), ear.clone()));
        futures_util::future::try_join_all(working).await?;
        Ok(())
    })
}

fn prepared(shape: &'static str, ear: Ear) -> Work {
    Box::pin(async move {
        let client = connect(shape).await?;
        let statement = client.prepare(INSERT).await?;
        speak::event(shape, "ready");
        while !ear.is_stopped() {
            let keys = speak::keys(1);
            match client.execute(&statement, &[&keys[0]]).await {
                Ok(_) => speak::acknowledged(shape, &keys),
                Err(error) => refused(shape, &error, &keys),
            }
            tokio::time::sleep(speak::PAUSE).await;
        }
        Ok(())
    })
}

fn listen(shape: &'static str, mut ear: Ear) -> Work {
    Box::pin(async move {
        let (client, mut connection) = config(shape).connect(NoTls).await?;
        let (tell, mut told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                let _ = tell.send(message);
            }
        });
        let client = Arc::new(client);
        client.batch_execute("LISTEN news").await?;
        speak::event(shape, "ready");
        loop {
            tokio::select! {
                () = ear.stopped() => return Ok(()),
                message = told.recv() => match message {
                    Some(Ok(AsyncMessage::Notification(news))) => {
                        speak::heard(shape, news.payload());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => refused(shape, &error, &[]),
                    None => return Err("the connection has ended".into()),
                },
            }
        }
    })
}

fn idle(shape: &'static str, mut ear: Ear) -> Work {
    Box::pin(async move {
        let client = connect(shape).await?;
        speak::event(shape, "ready");
        let mut seen = 0;
        while ear.woken(&mut seen).await {
            match client.simple_query("SELECT 1").await {
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
        ("prepared", prepared),
        ("listen", listen),
        ("idle", idle),
    ]);
}
