use std::time::Duration;

use super::{Agent, Api, Kind, find};
use crate::{Error, Result};

/// Runs a test on a real Consul; without one it is skipped.
fn run<F: Future<Output = Result<()>>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Err(Error::Skip(why)) = find().await {
            println!("skipped: {why}");
            return;
        }
        tokio::time::timeout(Duration::from_mins(2), test()).await.unwrap().unwrap();
    });
}

#[test]
fn keys_are_written_read_compared_and_removed() {
    run(|| async {
        let agent = Agent::start(Kind::Forgetful).await?;
        let api = agent.api();
        assert!(api.get("a/b").await?.is_none());
        api.put("a/b", "one").await?;
        let one = api.get("a/b").await?.unwrap();
        assert_eq!(one.value, "one");
        assert!(!api.cas("a/b", "two", one.modify_index - 1).await?);
        assert!(api.cas("a/b", "two", one.modify_index).await?);
        assert_eq!(api.list("a/").await?.len(), 1);
        api.delete("a/b").await?;
        assert!(api.list("a/").await?.is_empty());
        assert!(api.sessions().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_reader_may_only_read() {
    run(|| async {
        let agent = Agent::start(Kind::Guarded).await?;
        agent.api().put("a/b", "one").await?;
        let stranger = Api::new(agent.address(), None);
        assert!(stranger.get("a/b").await.unwrap_err().to_string().contains("403"));
        let token =
            agent.api().make_token("reader", "key_prefix \"a\" { policy = \"read\" }").await?;
        let reader = Api::new(agent.address(), Some(token));
        assert_eq!(reader.get("a/b").await?.unwrap().value, "one");
        assert!(reader.put("a/b", "two").await.unwrap_err().to_string().contains("403"));
        Ok(())
    });
}

#[test]
fn what_lasts_survives_a_kill() {
    run(|| async {
        let mut agent = Agent::start(Kind::Lasting).await?;
        agent.api().put("a", "one").await?;
        agent.pause();
        agent.resume();
        agent.kill();
        assert!(agent.api().get("a").await.is_err());
        agent.start_again().await?;
        assert_eq!(agent.api().get("a").await?.unwrap().value, "one");
        agent.stop().await
    });
}
