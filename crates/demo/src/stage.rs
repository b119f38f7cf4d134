//! What a run happens on: a cluster with its HA manager, and Everline in front.

use std::net::SocketAddr;
use std::path::Path;

use everline_lab::everline::{Everline, Launch};
use everline_lab::ledger::Door;
use everline_lab::{Error, Result};

use crate::args::{Args, Fault, Ha};
use crate::world::World;

/// First argument with which this program is Everline.
pub(crate) const SERVER: &str = "everline-server";

/// Everything that runs. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    /// `None` in the comparison without Everline. First, so that it ends first.
    pub(crate) everline: Option<Everline>,
    pub(crate) world: World,
}

impl Stage {
    /// Sets everything up; `say` hears what is being done.
    ///
    /// # Errors
    /// What could not be had, or did not start.
    pub(crate) async fn set_up(args: &Args, fault: Fault, say: impl Fn(&str)) -> Result<Self> {
        say("looking for PostgreSQL");
        let world = match args.ha {
            Ha::Adaptive => World::named(args, fault, &say).await?,
            Ha::Stolon => World::stolon(args, fault, &say).await?,
        };
        let mut stage = Self { everline: None, world };
        if !args.without {
            say("starting Everline");
            let program = std::env::current_exe()
                .map_err(|source| Error::Io { what: "finding this program".to_owned(), source })?;
            let hold = humantime::format_duration(args.hold).to_string();
            let launch = Launch::new(Path::new(&program))
                .argument(SERVER)
                .arguments(stage.world.everline_arguments())
                .arguments(["--failover-hold", &hold]);
            stage.everline = Some(launch.start().await?);
        }
        Ok(stage)
    }

    /// Where clients connect.
    pub(crate) fn door(&self) -> Door {
        match &self.everline {
            Some(everline) => Door::Everline(everline.address()),
            None => self.world.door(),
        }
    }

    /// Name and address of each node.
    pub(crate) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        self.world.nodes()
    }
}
