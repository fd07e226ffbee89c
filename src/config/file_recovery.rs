//! Section `[recovery]` of the configuration file, and what sources say about it.

use super::{
    reader::Reader,
    recovery::{Offsets, ProofMode, Unknowing},
    section::Section,
    settings::Config,
};

/// Reads section `[recovery]` into `config`.
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, config: &mut Config) {
    let recovery = &mut config.recovery;
    let mut section = root.section(reader, "recovery");
    section.seconds(reader, "window", &mut recovery.window, 0.0..=86_400.0);
    let (unknowing, proof) = of_source(reader, &mut section);
    recovery.unknowing = unknowing.unwrap_or_default();
    recovery.proof = proof.unwrap_or_default();
    section.seconds(reader, "pong_interval", &mut recovery.pong_interval, 0.05..=60.0);
    section.seconds(reader, "hold", &mut recovery.hold, 0.0..=10.0);
    recovery.offsets = section.choice(reader, "offsets", &Offsets::NAMES).unwrap_or_default();
    section.finish(reader);
}

/// Reads the keys that the section and the sources have in common.
pub fn of_source<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>) -> (Option<Unknowing>, Option<ProofMode>) {
    let unknowing = section.choice(reader, "unknowing", &Unknowing::NAMES);
    (unknowing, section.choice(reader, "proof", &ProofMode::NAMES))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use crate::config::{Config, Offsets, ProofMode, Recovery, Unknowing, parse};

    fn config(text: &str) -> Result<Config, String> {
        let problems = |list: Vec<_>| list.iter().map(|problem| format!("{problem}\n")).collect();
        parse(text, &mut |_| Ok(String::new())).map_err(problems)
    }

    #[test]
    fn sources_have_values_of_their_own() {
        let text = "[recovery]\nwindow = 30\nunknowing = \"user\"\nproof = \"tcp\"\npong_interval = 0.5\nhold = 1\n\
                    offsets = \"all\"\n[sources.a]\nsign_key = \"k\"\nunknowing = \"no\"\nproof = \"pong\"\n\
                    [sources.b]\nsign_key = \"l\"\n";
        let config = config(text).unwrap();
        let expected = Recovery {
            window: Duration::from_secs(30),
            unknowing: Unknowing::User,
            proof: ProofMode::Tcp,
            pong_interval: Duration::from_millis(500),
            hold: Duration::from_secs(1),
            offsets: Offsets::All,
        };
        assert_eq!(config.recovery, expected);
        let of = |name: &str| (config.sources[name].unknowing, config.sources[name].proof);
        assert_eq!((of("a"), of("b")), ((Some(Unknowing::No), Some(ProofMode::Pong)), (None, None)));
    }

    #[test]
    fn problems() {
        for (text, problem) in [
            ("window = -1", "recovery.window must be a number of seconds from 0 to 86400"),
            ("unknowing = \"yes\"", "recovery.unknowing must be"),
            ("offsets = 1", "recovery.offsets must be"),
        ] {
            let said = config(&format!("[recovery]\n{text}\n")).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }
}
