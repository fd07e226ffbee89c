//! Certificates that openssl makes in a folder of the test.

use std::{fs, path::PathBuf, process::Command};

/// A certificate authority in a folder, which is removed with it.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let authority = Authority { folder: super::temp_file("ca") };
        fs::create_dir_all(&authority.folder).unwrap();
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        let subject = format!("/CN={name}");
        let mut options = vec!["req", "-x509", "-subj", &subject, "-days", "2"];
        options.extend(NEW_KEY);
        options.extend(["-keyout", &key, "-out", &certificate]);
        openssl(&options);
        authority
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Makes `NAME.pem` and `NAME.key` for the names, such as `DNS:localhost,IP:127.0.0.1`. With a negative number of days
    /// the certificate has expired.
    pub fn issue(&self, name: &str, names: &str, days: &str) {
        let [key, request, certificate, extensions] =
            ["key", "csr", "pem", "ext"].map(|ending| self.file(&format!("{name}.{ending}")));
        fs::write(&extensions, format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n")).unwrap();
        let mut options = vec!["req", "-new", "-subj", "/CN=test"];
        options.extend(NEW_KEY);
        options.extend(["-keyout", &key, "-out", &request]);
        openssl(&options);
        let (ca, ca_key) = (self.file("ca.pem"), self.file("ca.key"));
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-out",
            &certificate,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            &extensions,
        ]);
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

fn openssl(options: &[&str]) {
    let done = Command::new("openssl").args(options).output().expect("openssl, of the Debian package of that name");
    assert!(done.status.success(), "openssl {options:?}: {}", String::from_utf8_lossy(&done.stderr));
}
