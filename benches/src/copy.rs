//! COPY of big data, out and in.

use std::fmt::Write as _;
use std::time::Duration;

use everline_lab::Result;
use tokio::time::Instant;

use crate::args::{Args, Part};
use crate::database::Database;
use crate::peers::{Login, Peer, Running};
use crate::raw::Raw;
use crate::record::{Record, mebibytes};
use crate::speed::start_all;
use crate::{failed, tell, usage};

/// Bytes of a row, its end included.
const ROW_BYTES: u64 = 1000;
/// Bytes of a wide row.
const WIDE_BYTES: u64 = 1024 * 1024;

const CASES: [Case; 3] = [Case::Out, Case::OutWide, Case::In];

#[derive(Debug, Clone, Copy)]
enum Case {
    /// Rows of 1,000 bytes come.
    Out,
    /// Rows of 1 MiB come.
    OutWide,
    /// Rows of 1,000 bytes go; PostgreSQL reads them and keeps none.
    In,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "COPY out, rows of 1,000 bytes",
            Self::OutWide => "COPY out, rows of 1 MiB",
            Self::In => "COPY in, rows of 1,000 bytes",
        }
    }

    fn is_wide(self) -> bool {
        match self {
            Self::OutWide => true,
            Self::Out | Self::In => false,
        }
    }

    /// Moves about so many bytes; how many they were.
    async fn play(self, raw: &mut Raw, bytes: u64) -> Result<u64> {
        let out = |row: u64| {
            format!(
                "COPY (SELECT repeat('x', {}) FROM generate_series(1, {})) TO STDOUT",
                row - 1,
                bytes.div_ceil(row)
            )
        };
        match self {
            Self::Out => raw.ask(&out(ROW_BYTES)).await,
            Self::OutWide => raw.ask(&out(WIDE_BYTES)).await,
            Self::In => {
                let mut line = vec![b'x'; usize::try_from(ROW_BYTES - 1).unwrap_or(0)];
                line.push(b'\n');
                raw.copy_in("COPY sink FROM STDIN WHERE false", &line, bytes).await
            }
        }
    }
}

/// Measures throughput and CPU of each peer, interleaved.
///
/// # Errors
/// When PostgreSQL fails; a peer that does not start stays out.
pub(crate) async fn run(
    args: &Args,
    peers: &[Peer],
    database: &Database,
    record: &mut Record,
) -> Result<()> {
    let table = "CREATE UNLOGGED TABLE IF NOT EXISTS sink (line text); GRANT ALL ON sink TO PUBLIC";
    database.cluster.primary().sql(table).await?;
    let running = start_all(peers, Login::Trust, database).await?;
    let bytes = u64::from(args.copy_mib()) * 1024 * 1024;
    let asked = |case: &Case| args.takes(case.name()) && !(args.quick && case.is_wide());
    for case in CASES.into_iter().filter(asked) {
        for round in 1..=args.rounds() {
            let mut line = format!("copy: {}, round {round}", case.name());
            for target in running.iter().filter(|target| !target.peer.session_pooling) {
                let name = target.peer.name.as_str();
                let (speed, cpu) = match once(case, target, bytes).await {
                    Ok(measured) => measured,
                    Err(error) => {
                        tell(&format!("{name}: {error}\n{}", target.log_tail()));
                        continue;
                    }
                };
                let place = (case.name(), name, round);
                record.add(Part::Copy, place, "MiB/s", speed);
                record.add(Part::Copy, place, "CPU s/GiB", cpu);
                let _ = write!(line, "; {name} {speed:.0} MiB/s {cpu:.2} CPU s/GiB");
            }
            tell(&line);
        }
        record.save()?;
    }
    Ok(())
}

/// MiB in a second, and CPU seconds for a GiB.
async fn once(case: Case, target: &Running, bytes: u64) -> Result<(f64, f64)> {
    let mut raw = Raw::connect(target.address).await?;
    let (began, used) = (Instant::now(), usage::cpu(target.id()));
    let moved = case.play(&mut raw, bytes).await?;
    if moved < bytes {
        return Err(failed(case.name(), &format!("only {moved} bytes have come")));
    }
    let took = began.elapsed().max(Duration::from_millis(1));
    let used = usage::cpu(target.id()).saturating_sub(used);
    let moved = mebibytes(moved);
    Ok((moved / took.as_secs_f64(), used.as_secs_f64() * 1024.0 / moved))
}
