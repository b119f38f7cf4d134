//! What administrators order by the console.

use everline_wire::sqlstate::SqlState;
use tokio::sync::oneshot;

use super::command::{Order, Shutdown};
use super::console::Desk;
use crate::backend::pool::Scope;

/// The orders, for `SHOW HELP` and the manual.
pub const HELP: &[(&str, &str)] = &[
    ("SHOW STATE_OF <client>", "what one client is doing, and what ties it to its connection"),
    ("PAUSE [db]", "hold new statements, and wait until those that run have finished"),
    ("RESUME [db]", "let them go on"),
    ("RECONNECT [db]", "replace every backend connection when it is free"),
    ("ELECT [ANYONE]", "look for the leader anew; ANYONE: forget who it was"),
    ("RELOAD", "read the configuration file again"),
    ("DISABLE db", "let no new clients in to this database"),
    ("ENABLE db", "let them in again"),
    ("KILL db", "send all clients of this database away"),
    ("KILL_CLIENT <client>", "send one client away"),
    ("SHUTDOWN", "end at once"),
    ("SHUTDOWN WAIT_FOR_SERVERS", "end when open transactions have finished, as SIGTERM does"),
    ("SHUTDOWN WAIT_FOR_CLIENTS", "end when all clients have left"),
];

/// What only the process as a whole can do.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration anew; the answer says what changed, or why nothing did.
    Reload(oneshot::Sender<Result<Vec<String>, String>>),
    /// End.
    Shutdown(Shutdown),
}

/// What an order came to.
#[derive(Debug)]
pub struct Obeyed {
    /// The command tag.
    pub complete: &'static str,
    /// What else there is to say.
    pub notices: Vec<String>,
}

/// Why an order was not obeyed.
#[derive(Debug)]
pub struct Complaint {
    /// The SQLSTATE.
    pub code: SqlState,
    /// In words.
    pub words: String,
}

const fn done(complete: &'static str) -> Obeyed {
    Obeyed { complete, notices: Vec::new() }
}

impl Desk {
    /// Does it.
    ///
    /// # Errors
    /// [`Complaint`], for whoever gave the order.
    ///
    /// # Cancel safety
    /// Safe: what was ordered is in force or not; `PAUSE` stays in force.
    pub async fn obey(&self, order: &Order) -> Result<Obeyed, Complaint> {
        let context = &self.observer.context;
        match order {
            Order::Reconnect(database) => {
                self.observer.pools.renew(database.as_deref());
                Ok(done("RECONNECT"))
            }
            Order::Elect { anyone: false } => {
                self.control.reconnect().await;
                Ok(done("ELECT"))
            }
            Order::Elect { anyone: true } => {
                self.control.reconnect_to_anyone().await;
                Ok(done("ELECT"))
            }
            Order::Reload => {
                let (answer, reloaded) = oneshot::channel();
                self.ask(Request::Reload(answer)).await?;
                match reloaded.await {
                    Ok(Ok(notices)) => Ok(Obeyed { complete: "RELOAD", notices }),
                    Ok(Err(words)) => {
                        Err(Complaint { code: SqlState::INVALID_PARAMETER_VALUE, words })
                    }
                    Err(_) => Err(going_down()),
                }
            }
            Order::Disable(database) => {
                context.doors.close(database);
                Ok(done("DISABLE"))
            }
            Order::Enable(database) => {
                context.doors.open(database);
                Ok(done("ENABLE"))
            }
            Order::Kill(database) => {
                let clients = context.roster.clients();
                let of_it: Vec<_> =
                    clients.iter().filter(|client| client.database == *database).collect();
                for client in &of_it {
                    client.kill();
                }
                let notices = vec![format!("{} clients were sent away", of_it.len())];
                Ok(Obeyed { complete: "KILL", notices })
            }
            Order::KillClient(number) => match context.roster.client(*number) {
                Some(client) => {
                    client.kill();
                    Ok(done("KILL_CLIENT"))
                }
                None => Err(Complaint {
                    code: SqlState::UNDEFINED_OBJECT,
                    words: format!("there is no client {number}; SHOW CLIENTS lists them"),
                }),
            },
            Order::Shutdown(how) => {
                self.ask(Request::Shutdown(*how)).await?;
                Ok(done("SHUTDOWN"))
            }
            Order::Pause(database) => self.pause(database.as_deref()).await,
            Order::Resume(database) => self.resume(database.as_deref()),
        }
    }

    async fn pause(&self, database: Option<&str>) -> Result<Obeyed, Complaint> {
        let paused = self.observer.pools.pause(scope(database)).await;
        paused.map(|()| done("PAUSE")).map_err(|resumed| Complaint {
            code: SqlState::QUERY_CANCELED,
            words: resumed.to_string(),
        })
    }

    fn resume(&self, database: Option<&str>) -> Result<Obeyed, Complaint> {
        if self.observer.pools.resume(&scope(database)) {
            return Ok(done("RESUME"));
        }
        let words = match database {
            None => "nothing is paused".to_owned(),
            Some(database) => format!("database {database} is not paused by itself"),
        };
        Err(Complaint { code: SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, words })
    }

    /// Whether statements for this database wait for a `RESUME`, whoever sends them.
    #[must_use]
    pub fn is_paused(&self, database: &str) -> bool {
        let pauses = self.observer.pools.pauses();
        [Scope::All, scope(Some(database))].iter().any(|scope| pauses.contains(scope))
    }

    async fn ask(&self, request: Request) -> Result<(), Complaint> {
        self.requests.send(request).await.map_err(|_| going_down())
    }
}

fn scope(database: Option<&str>) -> Scope {
    database.map_or(Scope::All, |database| Scope::Database(database.to_owned()))
}

fn going_down() -> Complaint {
    Complaint { code: SqlState::ADMIN_SHUTDOWN, words: "the server is going down".to_owned() }
}
