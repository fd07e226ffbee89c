//! Help, man page and completions of relay-bench.

use std::fs;

use relay_bench::commands::RELAY_BENCH;

use crate::relay::temp_path;

#[path = "../../../tests/support/manual.rs"]
mod checks;

fn run(args: &[&str]) -> (i32, String, String) {
    let ran = crate::bench(&args.join(" "));
    (ran.code, ran.out, ran.err)
}

fn print(args: &[&str]) -> String {
    let (code, text, error) = run(args);
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
    text
}

#[test]
fn help() {
    checks::check_help(&RELAY_BENCH, &run);
}

#[test]
fn options() {
    checks::check_parser(&RELAY_BENCH, &run);
}

#[test]
fn the_man_page() {
    let page = print(&["man"]);
    checks::check_page(&RELAY_BENCH, &page);
    checks::lint(&page);
    // `relay man relay-bench` prints the same.
    let ran = crate::run(&crate::program::relay(), "man relay-bench");
    assert_eq!((ran.code, ran.out), (0, page), "{}", ran.err);
}

#[test]
fn completions() {
    let folder = temp_path("completions");
    fs::create_dir(&folder).unwrap();
    checks::check_shells(&RELAY_BENCH, &folder, &|shell| print(&["completions", shell]));
    let lines: Vec<String> = ["relay-bench fa", "relay-bench idle --client poll"].map(str::to_owned).into();
    for shell in ["bash", "zsh"] {
        let answers = checks::terminal(shell, &folder.join(format!("completions.{shell}")), "relay-bench", &lines);
        assert!(answers[0].contains("<fan-out>"), "{shell}: {answers:?}");
        assert!(answers[1].contains("polling3") && answers[1].contains("polling4"), "{shell}: {answers:?}");
    }
    let answers = checks::fish(&folder.join("completions.fish"), &lines);
    assert_eq!(answers, ["fan-out\n", "polling3\npolling4\n"]);
    fs::remove_dir_all(folder).unwrap();
}
