//! The four measurements and their reports.

use std::time::Duration;

use crate::{
    Run,
    driver::Driver,
    error::Error,
    histogram::Histogram,
    options::Pace,
    pace::{Span, send_all},
    report::{LatencyFrom, Report},
};

/// Measures messages to the members of rooms.
pub fn fan_out(run: &mut Run) -> Result<(), Error> {
    let members = run.options.members.unwrap_or_default();
    let before = run.memory();
    join_members(run, members)?;
    let joined = run.memory();
    let span = send_all(run)?;
    let after = run.memory();
    let (ledger, report) = (&run.driver.ledger, &mut run.report);
    report.row("members", format!("{members} {} in {} rooms", run.options.client.name(), run.options.rooms));
    report_load(report, run.options.pace, run.options.connections, run.options.size, ledger.sent());
    report.set("deliveries", ledger.delivered());
    report.set("owed", ledger.due());
    report.figure("seconds", "took", Some(span.seconds), "s");
    report.figure("messages_per_s", "messages", Some(ledger.sent() as f64 / span.seconds), "/s");
    report.figure("deliveries_per_s", "deliveries", Some(ledger.delivered() as f64 / span.seconds), "/s");
    report.latency("latency", &ledger.latency, latency_from(run.options.pace));
    let each = cpu_each(span.cpu, ledger.delivered());
    report.figure("cpu_us_per_delivery", "relay's CPU per delivery", each, "µs");
    report_cpu(report, &span);
    report_memory(report, "bytes_per_member_joined", "memory per member, joined", before, joined, members);
    report_memory(report, "bytes_per_member", "memory per member, after the messages", before, after, members);
    Ok(())
}

/// Measures notifications to an empty room.
pub fn ingest(run: &mut Run) -> Result<(), Error> {
    let span = send_all(run)?;
    let (ledger, report) = (&run.driver.ledger, &mut run.report);
    report_load(report, run.options.pace, run.options.connections, run.options.size, ledger.sent());
    report.set("accepted", ledger.accepted());
    report.figure("seconds", "took", Some(span.seconds), "s");
    report.figure("accepted_per_s", "accepted", Some(ledger.accepted() as f64 / span.seconds), "/s");
    report.latency("latency of the response", &ledger.response_times, latency_from(run.options.pace));
    let each = cpu_each(span.cpu, ledger.accepted());
    report.figure("cpu_us_per_notify", "relay's CPU per notification", each, "µs");
    report_cpu(report, &span);
    Ok(())
}

/// Measures sessions that have sent and received a message and are idle from then on.
pub fn idle(run: &mut Run) -> Result<(), Error> {
    let members = run.options.members.unwrap_or_default();
    // The first members make tables and the allocator grow, which they do in steps. They are not counted.
    join_members(run, WARM_UP)?;
    exchange_messages(run, 0)?;
    run.driver.run_for(PAUSE, &mut || {})?;
    let (before, cpu_before) = (run.memory(), run.cpu());
    join_members(run, members)?;
    let (fresh, join_cpu) = (run.memory(), cpu_between(cpu_before, run.cpu()));
    exchange_messages(run, WARM_UP)?;
    run.driver.run_for(PAUSE, &mut || {})?;
    let after = run.memory();
    let duration = run.options.seconds.unwrap_or_default();
    let (cpu_before, begin) = (run.cpu(), run.driver.now());
    let progress = &mut run.progress;
    run.driver.run_for(duration, &mut || progress.show(|| format!("{members} idle sessions")))?;
    run.progress.clear();
    let seconds = (run.driver.now() - begin) as f64 / 1e9;
    let cpu = cpu_between(cpu_before, run.cpu());
    run.driver.ledger.finish();
    let report = &mut run.report;
    report.row("sessions", format!("{members} {} in {} rooms", run.options.client.name(), run.options.rooms));
    report.set("deliveries", run.driver.ledger.delivered());
    report.set("owed", run.driver.ledger.due());
    report.set("said", run.driver.acknowledged);
    report_memory(report, "bytes_per_session_fresh", "memory per session, new", before, fresh, members);
    report_memory(report, "bytes_per_session", "memory per session, after a message each way", before, after, members);
    report.set("rss_bytes", after);
    report.figure("cpu_us_per_connect", "relay's CPU per login", cpu_each(join_cpu, members as u64), "µs");
    report.figure("seconds", "watched for", Some(seconds), "s");
    report.figure("server_cpu_percent", "relay's CPU", cpu.map(|cpu| cpu / 1e7 / seconds), "% of a core");
    Ok(())
}

/// Measures logins; each client is disconnected once it has joined.
pub fn connect(run: &mut Run) -> Result<(), Error> {
    // The members that stay also show early if logins are refused.
    let present = run.options.present;
    join_members(run, present)?;
    let Run { options, driver, progress, report, process, .. } = run;
    let mut latency = Histogram::new();
    let cpu = || process.as_ref().and_then(|process| process.cpu());
    let (before, begin) = (cpu(), driver.now());
    let end = options.seconds.map_or(u64::MAX, |seconds| begin + seconds.as_nanos() as u64);
    let wanted = options.members.unwrap_or(usize::MAX);
    let mut started = 0;
    driver.last_received = begin;
    while started < wanted.min(options.concurrency) {
        driver.connect_member(present + started, true)?;
        started += 1;
    }
    let mut done = 0;
    while done < started {
        driver.poll_once(driver.last_received + options.stall.as_nanos() as u64)?;
        if driver.has_stalled(options.stall) {
            let seconds = options.stall.as_secs_f64();
            return Err(Error::Failed(format!("{done} logins, then nothing arrived for {seconds} s (--stall)")));
        }
        for (number, nanos) in core::mem::take(&mut driver.joined) {
            latency.record(nanos);
            done += 1;
            driver.disconnect_member(number)?;
            if started < wanted && driver.now() < end {
                driver.connect_member(number, true)?;
                started += 1;
            }
        }
        progress.show(|| format!("{done} logins"));
    }
    let seconds = (driver.last_received - begin).max(1) as f64 / 1e9;
    // The cost of a login includes the end of its session.
    if !driver.run_until(options.stall, &|driver| driver.pending_posts() == 0)? {
        let pending = driver.pending_posts();
        return Err(Error::Failed(format!("{pending} requests that close a polling session got no response")));
    }
    driver.run_for(PAUSE, &mut || {})?;
    let cpu = cpu_between(before, cpu());
    progress.clear();
    report.row("logins", format!("{done} {}, {} at the same time", options.client.name(), options.concurrency));
    report.set("connects", done);
    report.set("concurrency", options.concurrency);
    report.set("present", present);
    report.figure("seconds", "took", Some(seconds), "s");
    report.figure("connects_per_s", "logins", Some(done as f64 / seconds), "/s");
    report.latency("latency of a login", &latency, LatencyFrom::Connect);
    report.figure("cpu_us_per_connect", "relay's CPU per login and logout", cpu_each(cpu, done as u64), "µs");
    Ok(())
}

fn join_members(run: &mut Run, members: usize) -> Result<(), Error> {
    let Run { options, driver, progress, .. } = run;
    driver.join_members(members, options.concurrency, options.stall, &mut |joined| {
        progress.show(|| format!("{joined} of {members} members joined"));
    })?;
    progress.clear();
    // relay lets a Socket.IO 2.x client join before it refuses it: only then can it report the reason.
    driver.run_for(PAUSE, &mut || {})?;
    match driver.ledger.faults.examples.first() {
        Some(why) if driver.ledger.faults.closed > 0 => Err(Error::Failed(why.clone())),
        _ => Ok(()),
    }
}

/// Every member from number `first` on sends a message; then every room gets one.
fn exchange_messages(run: &mut Run, first: usize) -> Result<(), Error> {
    let driver = &mut run.driver;
    let expected = driver.acknowledged + driver.send_messages(first)?;
    let done = |driver: &Driver| driver.acknowledged >= expected && driver.pending_posts() == 0;
    if !driver.run_until(run.options.stall, &done)? || driver.acknowledged != expected {
        let acknowledged = driver.acknowledged;
        return Err(Error::Failed(format!(
            "relay acknowledged {acknowledged} messages of clients instead of {expected}"
        )));
    }
    for _ in 0..run.options.rooms {
        driver.publish(driver.now())?;
        driver.flush()?;
        // Bounded, because large messages to many rooms can exceed what relay buffers.
        driver.run_until(run.options.stall, &|driver| driver.ledger.in_flight() < EXCHANGE_WINDOW)?;
    }
    // The report names what is lost.
    driver.run_until(run.options.stall, &|driver| driver.ledger.in_flight() == 0).map(|_| ())
}

fn latency_from(pace: Pace) -> LatencyFrom {
    match pace {
        Pace::Window(_) => LatencyFrom::Send,
        Pace::Rate(_) => LatencyFrom::Schedule,
    }
}

fn report_load(report: &mut Report, pace: Pace, connections: usize, size: usize, sent: u64) {
    let pace = match pace {
        Pace::Window(window) => {
            report.set("window", window);
            format!("{window} in flight")
        }
        Pace::Rate(rate) => {
            report.set("rate_per_s", rate);
            format!("{rate} per second")
        }
    };
    report.set("connections", connections);
    report.set("messages", sent);
    report.set("size_bytes", size);
    report.row("messages", format!("{sent} of {size} bytes from {connections} backends, {pace}"));
}

fn report_cpu(report: &mut Report, span: &Span) {
    let share = |cpu: f64| cpu / 1e7 / span.measured_seconds;
    report.figure("server_cpu_percent", "relay's CPU", span.cpu.map(share), "% of a core");
    report.figure("own_cpu_percent", "the load generator's CPU", span.own_cpu.map(share), "% of a core");
}

fn report_memory(report: &mut Report, key: &str, label: &str, before: Option<u64>, after: Option<u64>, count: usize) {
    let each = before.zip(after).map(|(before, after)| (after as f64 - before as f64) / count.max(1) as f64);
    report.figure(key, label, each, "bytes");
}

/// The nanoseconds between two readings of the CPU time, if both succeeded.
fn cpu_between(before: Option<u64>, after: Option<u64>) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64)
}

/// Microseconds of CPU time for each of `count`; `None` if the count is 0.
fn cpu_each(cpu: Option<f64>, count: u64) -> Option<f64> {
    cpu.filter(|_| count > 0).map(|cpu| cpu / 1000.0 / count as f64)
}

/// The number of sessions before those that `idle` counts.
pub const WARM_UP: usize = 100;
/// Messages in flight while every room gets one.
const EXCHANGE_WINDOW: usize = 32;
const PAUSE: Duration = Duration::from_millis(200);
