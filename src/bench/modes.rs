//! The four things that can be measured, and how each is told.

use std::time::Duration;

use super::{
    Failure, Run,
    histogram::Histogram,
    options::Pace,
    pump::{Span, pump},
    report::{From, Report},
};

/// Messages to the members of rooms.
pub fn fan_out(run: &mut Run) -> Result<(), Failure> {
    let members = run.options.members.unwrap_or_default();
    let before = run.memory();
    admit(run, members)?;
    let joined = run.memory();
    let span = pump(run)?;
    let after = run.memory();
    let (ledger, report) = (&run.crowd.ledger, &mut run.report);
    report.show("members", format!("{members} {} in {} rooms", run.options.client.name(), run.options.rooms));
    told_load(report, run.options.pace, run.options.connections, run.options.size, ledger.sent());
    report.tell("deliveries", ledger.delivered());
    report.tell("owed", ledger.owed());
    report.figure("seconds", "took", Some(span.seconds), "s");
    report.figure("messages_per_s", "messages", Some(ledger.sent() as f64 / span.seconds), "/s");
    report.figure("deliveries_per_s", "deliveries", Some(ledger.delivered() as f64 / span.seconds), "/s");
    report.latency("latency", &ledger.latency, counted_from(run.options.pace));
    let each = cpu_each(span.cpu, ledger.delivered());
    report.figure("cpu_us_per_delivery", "relay's CPU per delivery", each, "µs");
    told_cpu(report, &span);
    told_memory(report, "bytes_per_member_joined", "memory per member, joined", before, joined, members);
    told_memory(report, "bytes_per_member", "memory per member, after the messages", before, after, members);
    Ok(())
}

/// Notifications to a room in which nobody is.
pub fn ingest(run: &mut Run) -> Result<(), Failure> {
    let span = pump(run)?;
    let (ledger, report) = (&run.crowd.ledger, &mut run.report);
    told_load(report, run.options.pace, run.options.connections, run.options.size, ledger.sent());
    report.tell("accepted", ledger.accepted());
    report.figure("seconds", "took", Some(span.seconds), "s");
    report.figure("accepted_per_s", "accepted", Some(ledger.accepted() as f64 / span.seconds), "/s");
    report.latency("latency of the answer", &ledger.answers, counted_from(run.options.pace));
    let each = cpu_each(span.cpu, ledger.accepted());
    report.figure("cpu_us_per_notify", "relay's CPU per notification", each, "µs");
    told_cpu(report, &span);
    Ok(())
}

/// Sessions that have sent a message and got one, and then do nothing.
pub fn idle(run: &mut Run) -> Result<(), Failure> {
    let members = run.options.members.unwrap_or_default();
    // The first ones fill what grows by steps: tables, the allocator's pages. They are not counted.
    admit(run, WARM)?;
    exchange(run, 0)?;
    run.crowd.rest(CALM, &mut || {})?;
    let (before, cpu_before) = (run.memory(), run.cpu());
    admit(run, members)?;
    let (fresh, cpu_in) = (run.memory(), cpu_between(cpu_before, run.cpu()));
    exchange(run, WARM)?;
    run.crowd.rest(CALM, &mut || {})?;
    let after = run.memory();
    let span = run.options.seconds.unwrap_or_default();
    let (cpu_before, begin) = (run.cpu(), run.crowd.now());
    let progress = &mut run.progress;
    run.crowd.rest(span, &mut || progress.show(|| format!("{members} sessions are idle")))?;
    run.progress.clear();
    let seconds = (run.crowd.now() - begin) as f64 / 1e9;
    let cpu = cpu_between(cpu_before, run.cpu());
    run.crowd.ledger.settle();
    let report = &mut run.report;
    report.show("sessions", format!("{members} {} in {} rooms", run.options.client.name(), run.options.rooms));
    report.tell("deliveries", run.crowd.ledger.delivered());
    report.tell("owed", run.crowd.ledger.owed());
    report.tell("said", run.crowd.accepted);
    told_memory(report, "bytes_per_session_fresh", "memory per session, fresh", before, fresh, members);
    told_memory(report, "bytes_per_session", "memory per session, a message sent and got", before, after, members);
    report.tell("rss_bytes", after);
    report.figure("cpu_us_per_connect", "relay's CPU per login", cpu_each(cpu_in, members as u64), "µs");
    report.figure("seconds", "watched", Some(seconds), "s");
    report.figure("server_cpu_percent", "relay's CPU", cpu.map(|cpu| cpu / 1e7 / seconds), "% of a core");
    Ok(())
}

/// Logins, closed once they are in.
pub fn connect(run: &mut Run) -> Result<(), Failure> {
    // Those that stay also show whether anybody is let in.
    let present = run.options.present;
    admit(run, present)?;
    let Run { options, crowd, progress, report, process, .. } = run;
    let mut latency = Histogram::new();
    let cpu = || process.as_ref().and_then(|process| process.cpu());
    let (before, begin) = (cpu(), crowd.now());
    let end = options.seconds.map_or(u64::MAX, |seconds| begin + seconds.as_nanos() as u64);
    let most = options.members.unwrap_or(usize::MAX);
    let mut begun = 0;
    crowd.heard = begin;
    while begun < most.min(options.concurrency) {
        crowd.open(present + begun, true)?;
        begun += 1;
    }
    let mut done = 0;
    while done < begun {
        crowd.turn(crowd.heard + options.stall.as_nanos() as u64)?;
        if crowd.has_stalled(options.stall) {
            return Err(Failure::Failed(format!("{done} logins, then nothing happened")));
        }
        for (place, nanos) in core::mem::take(&mut crowd.joined) {
            latency.record(nanos);
            done += 1;
            crowd.close(place)?;
            if begun < most && crowd.now() < end {
                crowd.open(place, true)?;
                begun += 1;
            }
        }
        progress.show(|| format!("{done} logins"));
    }
    let seconds = (crowd.heard - begin).max(1) as f64 / 1e9;
    // The ends of the sessions are part of what they cost.
    if !crowd.wait(options.stall, &|crowd| crowd.posts() == 0)? {
        return Err(Failure::Failed(format!("{} ends of sessions were never answered", crowd.posts())));
    }
    crowd.rest(CALM, &mut || {})?;
    let cpu = cpu_between(before, cpu());
    progress.clear();
    report.show("logins", format!("{done} {}, {} at the same time", options.client.name(), options.concurrency));
    report.tell("connects", done);
    report.tell("concurrency", options.concurrency);
    report.tell("present", present);
    report.figure("seconds", "took", Some(seconds), "s");
    report.figure("connects_per_s", "logins", Some(done as f64 / seconds), "/s");
    report.latency("latency of the login", &latency, From::Connect);
    report.figure("cpu_us_per_connect", "relay's CPU per login and its end", cpu_each(cpu, done as u64), "µs");
    Ok(())
}

fn admit(run: &mut Run, members: usize) -> Result<(), Failure> {
    let Run { options, crowd, progress, .. } = run;
    crowd.admit(members, options.concurrency, options.stall, &mut |joined| {
        progress.show(|| format!("{joined} of {members} are in"));
    })?;
    progress.clear();
    // A 2.x client that is refused is let in first, and then told why and closed.
    crowd.rest(CALM, &mut || {})?;
    match crowd.ledger.faults.shown.first() {
        Some(why) if crowd.ledger.faults.closed > 0 => Err(Failure::Failed(why.clone())),
        _ => Ok(()),
    }
}

/// Every member from the `first` on says something, and then each room gets a message.
fn exchange(run: &mut Run, first: usize) -> Result<(), Failure> {
    let crowd = &mut run.crowd;
    let said = crowd.accepted + crowd.say(first)?;
    let done = |crowd: &super::crowd::Crowd| crowd.accepted >= said && crowd.posts() == 0;
    if !crowd.wait(run.options.stall, &done)? || crowd.accepted != said {
        return Err(Failure::Failed(format!("{} of {said} were told that their message was accepted", crowd.accepted)));
    }
    for _ in 0..run.options.rooms {
        crowd.publish(crowd.now())?;
        crowd.flush()?;
        // Large messages to many rooms are more than a relay takes at once.
        crowd.wait(run.options.stall, &|crowd| crowd.ledger.in_flight() < EXCHANGED)?;
    }
    // What is lost is told at the end.
    crowd.wait(run.options.stall, &|crowd| crowd.ledger.in_flight() == 0).map(|_| ())
}

fn counted_from(pace: Pace) -> From {
    match pace {
        Pace::Window(_) => From::Send,
        Pace::Rate(_) => From::Schedule,
    }
}

fn told_load(report: &mut Report, pace: Pace, connections: usize, size: usize, sent: u64) {
    let pace = match pace {
        Pace::Window(window) => {
            report.tell("window", window);
            format!("{window} in flight")
        }
        Pace::Rate(rate) => {
            report.tell("rate_per_s", rate);
            format!("{rate} a second")
        }
    };
    report.tell("connections", connections);
    report.tell("messages", sent);
    report.tell("size_bytes", size);
    report.show("messages", format!("{sent} of {size} bytes by {connections} backends, {pace}"));
}

fn told_cpu(report: &mut Report, span: &Span) {
    let share = |cpu: f64| cpu / 1e7 / span.watched;
    report.figure("server_cpu_percent", "relay's CPU", span.cpu.map(share), "% of a core");
    report.figure("own_cpu_percent", "the load generator's CPU", span.own_cpu.map(share), "% of a core");
}

fn told_memory(report: &mut Report, key: &str, label: &str, before: Option<u64>, after: Option<u64>, count: usize) {
    let each = before.zip(after).map(|(before, after)| (after as f64 - before as f64) / count.max(1) as f64);
    report.figure(key, label, each, "bytes");
}

/// Nanoseconds from one look to a later one, if both could be taken.
fn cpu_between(before: Option<u64>, after: Option<u64>) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64)
}

/// Microseconds for each; of none there is no cost.
fn cpu_each(cpu: Option<f64>, count: u64) -> Option<f64> {
    cpu.filter(|_| count > 0).map(|cpu| cpu / 1000.0 / count as f64)
}

/// How many sessions come before those that are counted.
pub const WARM: usize = 100;
/// Messages in flight while each room gets its one.
const EXCHANGED: usize = 32;
const CALM: Duration = Duration::from_millis(200);
