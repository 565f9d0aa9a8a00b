//! End to end: real sockets, real files, and for the command line real processes.

pub mod balancer;
pub mod devices;
pub mod http;
pub mod pairing;
pub mod process;
pub mod proxy;
pub mod python;
#[path = "../../../relay/tests/common/redis_server.rs"]
pub mod redis_server;
pub mod tls;

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Nothing here takes this long. A test that waits longer has found a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The future's value, or a failed test that says what was awaited.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s for {what}", PATIENCE.as_secs()),
    }
}

/// Runs cases at the same time, at most `width` of them, and gives their results in order.
pub async fn side_by_side<C, T, F>(width: usize, cases: Vec<C>, run: impl Fn(C) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(width));
    let mut running = Vec::new();
    for case in cases {
        let case = run(case);
        let place = places.clone().acquire_owned().await.unwrap();
        running.push(tokio::spawn(async move {
            let result = case.await;
            drop(place);
            result
        }));
    }
    let mut results = Vec::new();
    for case in running {
        match case.await {
            Ok(result) => results.push(result),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
    results
}

/// A table in Markdown: printed, and written to `name` in the target folder.
pub fn report(name: &str, header: &[&str], rows: &[Vec<String>]) {
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    line(header.to_vec());
    line(header.iter().map(|_| "---").collect());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    #[allow(clippy::print_stdout, reason = "a table for whoever runs the test")]
    {
        println!("{text}");
    }
    std::fs::write(target_folder().join(name), text).unwrap();
}

/// Where cargo puts what it builds: the test runs from `deps` below one of its profiles.
pub fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).expect("a test lies in target/PROFILE/deps").to_owned()
}

fn target_folder() -> PathBuf {
    profile_folder().parent().expect("a profile lies in target").to_owned()
}
