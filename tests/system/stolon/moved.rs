//! A reload goes over to Stolon's word, and back to a fixed place.

use everline_lab::process::run_directory;

use super::stage::{NAME, STEP_MAX, Stage, run};
use crate::console::console;
use crate::driver::connect;
use crate::scene::{dsn, is_available, keep_log, number, program, status, until};

#[test]
fn a_reload_goes_over_to_stolon_and_back() {
    run(async {
        let stage = Stage::start().await?;
        let directory = run_directory()?.join("moved");
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("everline.toml");
        let write = |dsn: &str| {
            let text = format!("backend_dsn = {dsn:?}\nfailover_hold = \"1m\"\n");
            std::fs::write(&path, text).expect("a file");
        };
        let fixed = dsn(&stage.node(0).ip().to_string(), stage.node(0).port());
        let (agent, login) = (stage.agent.address(), "pguser=app&pgpassword=app-secret");
        let stolon = |cluster: &str| format!("stolon+consul+http://{agent}/{cluster}?{login}");
        write(&fixed);
        let everline = program().arguments(["--config", path.to_str().expect("a path")]);
        let everline = everline.start().await?;
        until(&everline, "a leader", is_available).await;
        let (client, admin) =
            (connect(everline.address()).await, console(everline.address()).await);
        client.simple_query("SET application_name = 'mine'; SELECT 1").await.expect("a leader");

        write(&stolon("nowhere"));
        let error = admin.simple_query("RELOAD").await.expect_err("no such cluster");
        let words = error.as_db_error().expect("an answer").message().to_owned();
        assert!(words.contains("there is no Stolon cluster nowhere"), "{words}");
        assert!(status(&everline).await["source"].is_null());

        write(&stolon(NAME));
        admin.simple_query("RELOAD").await.expect("a reload");
        client.simple_query("SELECT 1").await.expect("the leader that Stolon names");
        let ours = |status: &serde_json::Value| status["source"]["registered"] == "yes";
        until(&everline, "a registration", ours).await;
        assert_eq!(stage.sentinel.proxies().await?.len(), 2);

        write(&fixed);
        admin.simple_query("RELOAD").await.expect("a reload");
        client.simple_query("SELECT 1").await.expect("the fixed leader");
        stage.sentinel.proxies_until(STEP_MAX, |proxies| proxies.len() == 1).await?;
        let after = status(&everline).await;
        assert!(after["source"].is_null() && is_available(&after), "{after:#}");
        assert_eq!(number(&after, "retryable_total") + number(&after, "unknown_total"), 0);
        keep_log(&everline);
        Ok(())
    });
}
