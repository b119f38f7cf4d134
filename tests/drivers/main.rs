//! Driver tests: programs as others write them, over the drivers, pools and retry helpers that
//! people use, all at once in front of one Everline through one failover after the other.
//!
//! The programs stand in a directory for each language and speak one protocol, JSON lines, with
//! this runner (`python/speak.py` has it in words). What a pool does with its connections is not
//! asked of it but seen, by a door that counts. The first test that needs the course runs it, the
//! others wait for it; each judges its driver. `EVERLINE_DRIVERS=psycopg,pgx` runs these alone.
//! With `UPDATE=1` the manual's page is written anew.

#[cfg(test)]
mod course;
#[cfg(test)]
mod page;
#[cfg(test)]
mod program;
#[cfg(test)]
mod roster;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod verdict;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use everline_lab::Error;
    use tokio::time::Instant;

    use crate::course::{self, Course};
    use crate::page;
    use crate::roster::{Driver, Language, ROSTER};
    use crate::setup::{Cannot, Tools, set_up};
    use crate::verdict::{Verdict, judge};

    /// Longest time for all of it, once everything is set up.
    const COURSE_MAX: Duration = Duration::from_mins(8);

    /// What came of the course.
    struct Outcome {
        course: Result<Course, Cannot>,
        /// Who could not take part, and why.
        absent: BTreeMap<&'static str, Cannot>,
    }

    static LOGS_SHOWN: AtomicBool = AtomicBool::new(false);
    static OUTCOME: OnceLock<Outcome> = OnceLock::new();

    fn outcome() -> &'static Outcome {
        OUTCOME.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(everything())
        })
    }

    async fn everything() -> Outcome {
        let chosen = std::env::var("EVERLINE_DRIVERS").unwrap_or_default();
        let is_chosen =
            |name: &str| chosen.is_empty() || chosen.split(',').any(|chosen| chosen == name);
        let mut absent = BTreeMap::new();
        let mut troupe = Vec::new();
        let mut tools: BTreeMap<Language, Result<Tools, Cannot>> = BTreeMap::new();
        for driver in ROSTER {
            if !is_chosen(driver.name) {
                let why = "not among EVERLINE_DRIVERS".to_owned();
                absent.insert(driver.name, Cannot::Skip(why));
                continue;
            }
            if let Entry::Vacant(tools) = tools.entry(driver.language) {
                let began = Instant::now();
                let tool = set_up(driver.language).await;
                println!("{:?}: set up in {:.1?}", driver.language, began.elapsed());
                tools.insert(tool);
            }
            match &tools[&driver.language] {
                Ok(tools) => troupe.push((driver, tools.clone())),
                Err(cannot) => drop(absent.insert(driver.name, cannot.clone())),
            }
        }
        let began = Instant::now();
        let ran = tokio::time::timeout(COURSE_MAX, course::run(&troupe)).await;
        println!("the course: {:.1?}", began.elapsed());
        let course = match ran {
            Ok(Ok(course)) => Ok(course),
            Ok(Err(Error::Skip(why))) => Err(Cannot::Skip(why)),
            Ok(Err(error)) => Err(Cannot::Fail(error.to_string())),
            Err(_) => Err(Cannot::Fail(format!("the course: not done after {COURSE_MAX:?}"))),
        };
        Outcome { course, absent }
    }

    fn driver(name: &str) -> &'static Driver {
        ROSTER.iter().find(|driver| driver.name == name).expect("it is in the roster")
    }

    /// One driver's part: nothing closed, given up, lost or doubled, and everyone served.
    fn performs(name: &'static str) {
        let outcome = outcome();
        let driver = driver(name);
        let cannot = outcome.absent.get(name).or(outcome.course.as_ref().err());
        let course = match cannot {
            Some(Cannot::Skip(why)) => return skip(name, why),
            Some(Cannot::Fail(why)) => panic!("{name}: {why}"),
            None => outcome.course.as_ref().expect("the course was run"),
        };
        let Verdict { counts, wrong } = judge(course, driver);
        for (act, counts) in course::ACTS.iter().zip(&counts) {
            for (fault, counts) in counts {
                println!("hold {}, {fault}: {counts:?}", act.hold);
            }
        }
        if !wrong.is_empty() {
            // One of those that fail shows them.
            if !LOGS_SHOWN.swap(true, Ordering::Relaxed) {
                let logs = course.logs.join("\n---\n");
                println!("Everline's logs, latest lines first:\n{logs}");
            }
            panic!("{}:\n  {}", driver.title, wrong.join("\n  "));
        }
    }

    fn skip(name: &str, why: &str) {
        let line = format!("skipped: tests::{name}: {why}");
        println!("{line}");
        let Some(path) = std::env::var_os("EVERLINE_SKIPPED_FILE") else { return };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let told = file.and_then(|mut file| writeln!(file, "{line}"));
        told.expect("the file for what was skipped can be written");
    }

    #[test]
    fn the_manuals_page_is_about_these_drivers() {
        let verdicts = if page::is_to_be_written() {
            let outcome = outcome();
            let absent: Vec<_> = outcome.absent.keys().collect();
            assert!(absent.is_empty(), "the page is about everyone: {absent:?}");
            let course = outcome.course.as_ref().expect("the course was run");
            ROSTER.iter().map(|driver| judge(course, driver)).collect()
        } else {
            Vec::new()
        };
        page::check(&verdicts);
    }

    macro_rules! perform {
        ($($name:ident)*) => {
            $(#[test]
            fn $name() {
                performs(stringify!($name));
            })*

            #[test]
            fn everyone_is_tested() {
                let tested = [$(stringify!($name)),*];
                assert_eq!(tested.to_vec(), ROSTER.iter().map(|one| one.name).collect::<Vec<_>>());
            }
        };
    }

    perform! {
        psycopg psycopg2 asyncpg sqlalchemy django node_postgres postgres_js pgx lib_pq pgjdbc
        tokio_postgres sqlx
    }
}
