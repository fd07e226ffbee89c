//! What the linker is told for the daemon as it is released: what to leave out, and what to put beside what.

use std::{env, fmt::Write, fs, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_default();
    for name in ["RUSTFLAGS", "RUSTC_LINKER", "LD_PRELOAD"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    // Who has chosen a linker may have one that takes no scripts, as mold, or none of gcc's options: gcc with GNU ld or LLD
    // does.
    let flags = var("CARGO_ENCODED_RUSTFLAGS");
    let chosen = ["fuse-ld", "ld-path", "linker="].iter().any(|choice| flags.contains(choice))
        || var("RUSTC_LINKER").contains("ld")
        || var("LD_PRELOAD").contains("mold");
    let released = var("PROFILE") == "release" && var("DEBUG") == "false";
    // A static C library's own start asks for the tables, and so does who has asked for unwinding.
    let kept = var("CARGO_CFG_TARGET_FEATURE").contains("crt-static") || var("CARGO_PROFILE_RELEASE_PANIC") == "unwind";
    let gnu = var("CARGO_CFG_TARGET_OS") == "linux" && var("CARGO_CFG_TARGET_ENV") == "gnu";
    if !released || chosen || kept || !gnu {
        return;
    }
    let script = Path::new(&var("OUT_DIR")).join("relay.ld");
    fs::write(&script, linker_script()).expect("the build's folder can be written to");
    println!("cargo:rustc-link-arg-bin=relay=-T{}", script.display());
    println!("cargo:rustc-link-arg-bin=relay=-Wl,--no-eh-frame-hdr");
    // What unwinds, which the standard library asks for, from gcc's archive: the shared library has 90 kB in memory. Where
    // the archive is not, it is the shared one.
    let cc = env::var("RUSTC_LINKER").unwrap_or("cc".into());
    let asked = Command::new(cc).arg("-print-file-name=libgcc_eh.a").output();
    let archive = asked.ok().and_then(|asked| String::from_utf8(asked.stdout).ok()).unwrap_or_default();
    if let Some(folder) = Path::new(archive.trim()).parent().filter(|folder| folder.is_absolute()) {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Added to the linker's own. What a panic would unwind a stack by, a tenth of the file, serves nobody: a panic ends a
/// released daemon at once, and its names are stripped. That costs what RUST_BACKTRACE would show; the message, with file and
/// line, stays. And the code that a start runs is put together: the system brings code into memory in pieces of 64 KiB, and
/// an eighth of it, in every piece a little, would have brought nearly all.
fn linker_script() -> String {
    let mut script = String::from("SECTIONS {\n");
    // The first that names a function has it, and what is named nowhere stands behind them.
    for (name, parts) in [("started", &STARTED[..]), ("later", &LATER[..])] {
        let _ = writeln!(script, ".text.{name} : {{");
        for part in parts {
            let _ = writeln!(script, "*(.text.*{part}*)");
        }
        let _ =
            writeln!(script, "}}\n}} INSERT {} .text;\nSECTIONS {{", if name == "later" { "BEFORE" } else { "AFTER" });
    }
    script.push_str("/DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table .gcc_except_table.*) }\n");
    script.push_str("} INSERT AFTER .text;\n");
    script
}

/// Parts of [`LATER`] that a start runs, by their mangled names: what has changed its name is found with the rest, and only
/// costs memory.
const STARTED: [&str; 17] = [
    "5btree4node210Handle",
    "11insert_tail",
    "7Display3fmt",
    "7raw_vec",
    "5relay3hub3Hub",
    "5relay3hub4asks",
    "5relay3hub5space",
    "5relay3hub9broadcast9MessageId",
    "5relay4sign6to_hex",
    "5relay5hooks10Dispatcher6expiry",
    "5relay8siblings8Siblings8deadline",
    "5relay8siblings8Siblings8drop_end",
    "5relay8siblings8Siblings11show_health",
    "5relay8siblings8Siblings4link",
    "5relay8siblings4keys",
    "5relay8siblings8presence8Presence9configure",
    "5relay3hub8siblings8Siblings4link",
];

/// What runs when there is something to do, or never.
const LATER: [&str; 53] = [
    "11miniz_oxide",
    "12backtrace_rs",
    "14rustc_demangle",
    "5gimli",
    "9addr2line",
    "5relay3api",
    "5relay3cli5tools",
    "5relay3hub",
    "5relay4http",
    "5relay4sign",
    "5relay5frame",
    "5relay5hooks",
    "5relay5redis",
    "5relay6config4file",
    "5relay6outbox",
    "5relay8engineio",
    "5relay8siblings",
    "5relay8socketio",
    "5relay9websocket",
    "relay..api",
    "relay..engineio",
    "relay..http",
    "relay..socketio",
    "relay..websocket",
    "relay6server9websocket",
    "relay6server6Server11handle_http",
    "8resolver",
    "alloc11collections5btree4node",
    "7colored",
    "5bytes",
    "8smallvec",
    "core3str7pattern",
    "alloc11collections5btree6remove",
    "alloc11collections5btree3map5entry",
    "core..fmt..Debug",
    "core3fmt5float",
    "base64..",
    "serde_json..",
    "tungstenite..",
    "http..",
    "10serde_core",
    "10serde_json",
    "11tungstenite",
    "3md5",
    "4rand",
    "4sha1",
    "4sha2",
    "4sort",
    "6base64",
    "7dec2flt",
    "7flt2dec",
    "8httparse",
    "9toml_span",
];
