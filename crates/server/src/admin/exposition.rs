//! `/metrics`: counters, gauges and histograms as text.
//!
//! Two forms of the same: `OpenMetrics` 1.0 where it is asked for, else Prometheus' text 0.0.4.
//! They differ in how a counter is named in its head, in units and in the last line.

use std::fmt::Write as _;

use super::process::{Process, number};
use super::status::{Observer, Status};
use crate::metrics::histogram::Spread;

/// Which of the two forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Form {
    /// What an `Accept` header asks for.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The content type.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics at this moment.
#[must_use]
pub fn render(observer: &Observer, form: Form) -> String {
    let status = observer.status();
    let mut page = Page { form, out: String::with_capacity(16 * 1024), name: "" };
    leadership(&mut page, observer, &status);
    clients(&mut page, observer, &status);
    traffic(&mut page, observer);
    pools(&mut page, &status);
    spreads(&mut page, observer);
    page.process(&Process::look());
    page.end()
}

fn leadership(page: &mut Page, observer: &Observer, status: &Status) {
    let ha = observer.ha.snapshot();
    page.gauge("everline_build_info", "The version of this program, always 1.");
    page.one(&[("version", status.version)], 1);
    page.gauge("everline_state", "1 for the state of the failover machine, 0 for the others.");
    for state in ["starting", "healthy", "unhealthy", "failover"] {
        page.one(&[("state", state)], u8::from(status.state == state));
    }
    page.gauge("everline_available", "1 while statements are dispatched, else 0.");
    page.one(&[], u8::from(status.available));
    page.gauge("everline_paused", "1 while an administrator has paused the dispatch.");
    page.one(&[], u8::from(!status.paused.is_empty()));
    page.gauge("everline_draining", "1 while the server is on its way out.");
    page.one(&[], u8::from(status.draining));
    page.gauge("everline_epoch", "The number of this leader's reign.");
    page.one(&[], status.epoch);
    page.gauge("everline_leader_info", "Where the leader is, or was, always 1.");
    if let Some(leader) = &status.leader {
        let version = leader.server_version.as_deref().unwrap_or_default();
        page.one(&[("endpoint", &leader.endpoint), ("server_version", version)], 1);
    }
    page.gauge("everline_leader_timeline", "The timeline of the leader.");
    if let Some(timeline) = status.leader.as_ref().and_then(|leader| leader.timeline) {
        page.one(&[], timeline);
    }
    page.gauge("everline_leader_answer_age_seconds", "Since the leader last answered.");
    if let Some(age) = status.last_answer_ago_s {
        page.one(&[], age);
    }
    page.gauge("everline_leader_round_trip_seconds", "How long its last answer took.");
    if let Some(time) = ha.round_trip {
        page.one(&[], time.as_secs_f64());
    }
    page.gauge("everline_outage_seconds", "How long nothing is dispatched, 0 while it is.");
    page.one(&[], status.outage_for_s.unwrap_or_default());
    page.counter("everline_outages_total", "Times at which dispatching stopped.");
    page.one(&[], status.outages_total);
    page.counter("everline_failovers_total", "Leaders given up, by cause.");
    for (cause, times) in &ha.counters.failovers {
        page.one(&[("cause", cause)], *times);
    }
    page.counter("everline_doubts_total", "Times that the leader was doubted (unhealthy).");
    page.one(&[], ha.counters.unhealthy);
    for (name, help, value) in [
        ("everline_heartbeats_total", "Answers to the heartbeat.", ha.counters.heartbeats),
        ("everline_suspicions_total", "Doubts reported by sessions.", ha.counters.suspicions),
        ("everline_leader_dials_total", "Dials to find a leader.", ha.counters.dials),
        ("everline_leader_dials_failed_total", "Of those, in vain.", ha.counters.dials_failed),
        ("everline_primaries_refused_total", "Stale or foreign primaries.", ha.counters.refused),
        ("everline_resolves_total", "Names asked.", ha.counters.resolves),
        ("everline_resolves_failed_total", "Of those, in vain.", ha.counters.resolves_failed),
    ] {
        page.counter(name, help);
        page.one(&[], value);
    }
}

fn clients(page: &mut Page, observer: &Observer, status: &Status) {
    page.gauge("everline_clients", "Clients, by what they are doing.");
    for (state, clients) in [
        ("idle", status.clients_idle),
        ("active", status.clients_active),
        ("waiting", status.clients_waiting),
    ] {
        page.one(&[("state", state)], clients);
    }
    page.gauge("everline_clients_max", "The most clients at a time.");
    page.one(&[], status.clients_max);
    page.counter("everline_client_connections_total", "Client connections accepted.");
    page.one(&[], status.accepted_total);
    page.gauge("everline_held_statements", "Statements held for want of a leader.");
    page.one(&[], status.held);
    page.counter("everline_holds_total", "Statements that have been held.");
    page.one(&[], status.held_total);
    page.counter("everline_retryable_answers_total", "Refusals that invite a retry.");
    page.one(&[], status.retryable_total);
    page.counter("everline_unknown_outcomes_total", "Statements whose outcome is unknown.");
    page.one(&[], status.unknown_total);
    page.counter("everline_refusals_total", "Errors that were ours, not PostgreSQL's.");
    for (code, times) in observer.metrics.refusals() {
        page.one(&[("sqlstate", &code.to_string())], times);
    }
}

fn traffic(page: &mut Page, observer: &Observer) {
    let databases = observer.metrics.databases.counted();
    let mut counter = |name, help, value: &dyn Fn(&crate::metrics::traffic::Counted) -> f64| {
        page.counter(name, help);
        for (database, counted) in &databases {
            page.one(&[("database", database)], value(counted));
        }
    };
    counter("everline_transactions_total", "Transactions that ended.", &|c| number(c.transactions));
    counter("everline_statements_total", "Statements answered.", &|c| number(c.statements));
    counter("everline_received_bytes_total", "Bytes from clients.", &|c| number(c.received));
    counter("everline_sent_bytes_total", "Bytes to clients.", &|c| number(c.sent));
    counter("everline_lent_seconds_total", "Time backend connections were lent.", &|c| {
        seconds(c.transaction_us)
    });
    counter("everline_busy_seconds_total", "Time backends took to answer.", &|c| {
        seconds(c.statement_us)
    });
    counter("everline_waited_seconds_total", "Time statements waited for a connection.", &|c| {
        seconds(c.wait_us)
    });
}

fn pools(page: &mut Page, status: &Status) {
    page.gauge("everline_backend_connections", "Backend connections, by what they do.");
    for pool in &status.pools {
        for (state, count) in
            [("idle", pool.idle), ("lent", pool.lent), ("dialling", pool.dialling)]
        {
            let labels = [("database", &*pool.database), ("user", &*pool.user), ("state", state)];
            page.one(&labels, count);
        }
    }
    page.gauge("everline_backend_connections_max", "The budget, without the system connection.");
    page.one(&[], status.budget);
    page.gauge("everline_pool_waiting", "Sessions that wait for a connection.");
    for pool in &status.pools {
        page.one(&[("database", &pool.database), ("user", &pool.user)], pool.waiting);
    }
    page.gauge("everline_pool_longest_wait_seconds", "How long the first of them has waited.");
    for pool in &status.pools {
        page.one(&[("database", &pool.database), ("user", &pool.user)], pool.longest_wait_s);
    }
}

fn spreads(page: &mut Page, observer: &Observer) {
    let gauges = observer.pools.gauges();
    let wait = "How long statements waited for a free connection, where none was free at once.";
    page.histogram("everline_query_wait_seconds", wait, &gauges.wait.spread());
    let hold = "How long statements were held for want of a leader.";
    page.histogram("everline_hold_seconds", hold, &gauges.hold.spread());
    let dial = "How long dials of backend connections took that succeeded.";
    page.histogram("everline_dial_seconds", dial, &gauges.dial.spread());
    page.counter("everline_dials_failed_total", "Dials of pools that led to no connection.");
    page.one(&[], gauges.dials_failed.load(std::sync::atomic::Ordering::Relaxed));
    let outage = "How long outages lasted, from the last leader's loss to the next one's answer.";
    let spread = observer.ha.snapshot().outages.spread();
    page.histogram("everline_outage_duration_seconds", outage, &spread);
}

fn seconds(microseconds: u64) -> f64 {
    std::time::Duration::from_micros(microseconds).as_secs_f64()
}

/// The text while it is written.
struct Page {
    form: Form,
    out: String,
    /// The family that the next samples belong to.
    name: &'static str,
}

impl Page {
    fn gauge(&mut self, name: &'static str, help: &str) {
        self.head(name, name, "gauge", help);
    }

    fn counter(&mut self, name: &'static str, help: &str) {
        let family = match self.form {
            Form::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Form::Text => name,
        };
        self.head(name, family, "counter", help);
    }

    fn head(&mut self, name: &'static str, family: &str, kind: &str, help: &str) {
        self.name = name;
        self.line(format_args!("# TYPE {family} {kind}"));
        if self.form == Form::OpenMetrics {
            for unit in ["seconds", "bytes"] {
                if family.ends_with(unit) {
                    self.line(format_args!("# UNIT {family} {unit}"));
                }
            }
        }
        self.line(format_args!("# HELP {family} {help}"));
    }

    /// One sample of the family at hand.
    fn one(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.sample("", labels, None, value);
    }

    fn histogram(&mut self, name: &'static str, help: &str, spread: &Spread) {
        self.head(name, name, "histogram", help);
        for (bound, count) in &spread.buckets {
            self.sample("_bucket", &[], Some(&format!("{bound:?}")), count);
        }
        self.sample("_bucket", &[], Some("+Inf"), spread.count);
        self.sample("_sum", &[], None, spread.sum_s);
        self.sample("_count", &[], None, spread.count);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: impl std::fmt::Display,
    ) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut opened = false;
        for (name, value) in labels {
            self.out.push(if opened { ',' } else { '{' });
            opened = true;
            self.out.push_str(name);
            self.out.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    other => self.out.push(other),
                }
            }
            self.out.push('"');
        }
        if opened {
            self.out.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn process(&mut self, process: &Process) {
        let Process { cpu_s, resident_bytes, open_fds, max_fds, start_s, tasks } = process;
        self.gauge("everline_tasks", "Tasks that live: they come and go with clients.");
        self.measured(*tasks);
        self.counter("process_cpu_seconds_total", "CPU time, user and system.");
        self.measured(*cpu_s);
        self.gauge("process_resident_memory_bytes", "Memory held.");
        self.measured(*resident_bytes);
        self.gauge("process_open_fds", "Open file descriptors.");
        self.measured(*open_fds);
        self.gauge("process_max_fds", "The most that may be open.");
        self.measured(*max_fds);
        self.gauge("process_start_time_seconds", "When the process started, Unix time.");
        self.measured(*start_s);
    }

    /// A value that the system may not have told.
    fn measured(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.one(&[], value);
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{text}"); // a String takes everything
    }

    fn end(mut self) -> String {
        match self.form {
            Form::OpenMetrics => self.out.push_str("# EOF\n"),
            Form::Text => {}
        }
        self.out
    }
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
