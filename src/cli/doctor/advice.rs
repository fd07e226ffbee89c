//! What to change in the configuration of a proxy, for each of the four that docs/operations.md describes, or in that of relay.

/// A change that cures a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Forward the upgrade to WebSocket, with HTTP/1.1.
    Upgrade,
    /// Forward this path, which begins with the prefix, to relay's path.
    Forward(String, String),
    /// Keep the requests of a client at one process.
    Sticky,
    /// Do not collect answers.
    Buffering,
    /// Keep silent connections open.
    Idle,
    /// Accept bodies of this many bytes.
    Body(u64),
    /// Say the client's address.
    Address,
    /// Trust the proxy.
    Trust,
    /// Forward `Origin` as it is.
    OriginHeader,
    /// Leave `Access-Control-Allow-Origin` to relay.
    Cors,
    /// List this origin.
    Origin(String),
    /// Use a certificate that clients accept.
    Certificate,
}

/// Lines for the configuration of a program.
pub type Lines = (&'static str, Vec<String>);

impl Advice {
    /// The lines to add, by program.
    pub fn lines(&self) -> Vec<Lines> {
        let all = |nginx: &[&str], apache: &[&str], caddy: &[&str], haproxy: &[&str]| {
            let of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
            vec![("nginx", of(nginx)), ("Apache", of(apache)), ("Caddy", of(caddy)), ("HAProxy", of(haproxy))]
        };
        let relay = |line: &str| ("relay.toml", vec![line.to_owned()]);
        match self {
            Advice::Upgrade => all(
                &[
                    "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }   # in http {}",
                    "proxy_http_version 1.1;                                             # in location {}",
                    "proxy_set_header Upgrade $http_upgrade;",
                    "proxy_set_header Connection $connection_upgrade;",
                ],
                &["ProxyPass / http://127.0.0.1:4000/ upgrade=websocket   # 2.4.47 or later"],
                &["reverse_proxy 127.0.0.1:4000   # without header_up for Connection and Upgrade"],
                &["mode http   # without http-request del-header or set-header for Connection and Upgrade"],
            ),
            Advice::Forward(prefix, path) => {
                let nginx = [
                    format!("location {prefix}{path} {{"),
                    format!("    proxy_pass http://127.0.0.1:4000{path};"),
                    "    proxy_http_version 1.1;".into(),
                    "    proxy_set_header Upgrade $http_upgrade;".into(),
                    "    proxy_set_header Connection $connection_upgrade;   # by a map, see docs/operations.md".into(),
                    "    proxy_set_header Host $host;".into(),
                    "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;".into(),
                    "}".into(),
                ];
                let nginx = nginx.into();
                let apache = format!("ProxyPass {prefix}{path} http://127.0.0.1:4000{path} upgrade=websocket");
                let caddy = match prefix.is_empty() {
                    true => vec![format!("reverse_proxy {path}* 127.0.0.1:4000")],
                    false => vec![
                        format!("handle_path {prefix}/* {{"),
                        "    reverse_proxy 127.0.0.1:4000".into(),
                        "}".into(),
                    ],
                };
                let mut haproxy = vec![format!("use_backend relay if {{ path_beg {prefix}{path} }}")];
                if !prefix.is_empty() {
                    haproxy.push(format!("http-request replace-path {prefix}(/.*) \\1   # in backend relay"));
                }
                vec![("nginx", nginx), ("Apache", vec![apache]), ("Caddy", caddy), ("HAProxy", haproxy)]
            }
            Advice::Sticky => all(
                &["ip_hash;   # in upstream {}"],
                &[
                    "Header add Set-Cookie \"ROUTE=.%{BALANCER_WORKER_ROUTE}e; path=/\" env=BALANCER_ROUTE_CHANGED",
                    "ProxySet stickysession=ROUTE   # in <Proxy balancer://…>, and route=… at each BalancerMember",
                ],
                &["lb_policy ip_hash   # in reverse_proxy {}"],
                &["balance source   # in backend"],
            ),
            Advice::Buffering => all(
                &["proxy_buffering off;   # and no proxy_ignore_headers X-Accel-Buffering", "gzip off;"],
                &["ProxyPass / http://127.0.0.1:4000/ upgrade=websocket flushpackets=on", "SetEnv no-gzip 1"],
                &["flush_interval -1   # in reverse_proxy {}"],
                &["option http-no-delay   # and no compression"],
            ),
            Advice::Idle => {
                let mut lines = all(
                    &["proxy_read_timeout 75s;", "proxy_send_timeout 75s;"],
                    &["ProxyTimeout 75"],
                    &["# has no such time-out of its own: remove stream_timeout, read_timeout and write_timeout"],
                    &["timeout client 75s", "timeout server 75s", "timeout tunnel 75s"],
                );
                let change = "ping_interval = 10   # in [websocket] and [socketio], if the proxy cannot be changed";
                lines.push(relay(change));
                lines
            }
            Advice::Body(bytes) => all(
                &[&format!("client_max_body_size {bytes};")],
                &[&format!("LimitRequestBody {bytes}")],
                &["request_body {", &format!("    max_size {bytes}"), "}"],
                &["# has no limit of its own: remove rules with req.body_size or content-length"],
            ),
            Advice::Address => {
                let mut lines = all(
                    &["proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"],
                    &["ProxyAddHeaders On"],
                    &["reverse_proxy 127.0.0.1:4000   # without header_up for X-Forwarded-For"],
                    &["option forwardfor"],
                );
                lines.push(relay(TRUST));
                lines
            }
            Advice::Trust => vec![relay(TRUST)],
            Advice::OriginHeader => all(
                &["proxy_set_header Origin $http_origin;"],
                &["# remove RequestHeader for Origin"],
                &["# remove header_up for Origin"],
                &["# remove http-request set-header and del-header for Origin"],
            ),
            Advice::Cors => all(
                &["# remove add_header and proxy_hide_header for Access-Control-Allow-Origin"],
                &["# remove Header for Access-Control-Allow-Origin"],
                &["# remove header and header_down for Access-Control-Allow-Origin"],
                &["# remove http-response rules for Access-Control-Allow-Origin"],
            ),
            Advice::Origin(origin) => vec![relay(&format!("origins = [\"{origin}\"]   # then reload relay"))],
            Advice::Certificate => all(
                &[
                    "ssl_certificate     /etc/ssl/relay.crt;   # the certificate, then those of its issuers",
                    "ssl_certificate_key /etc/ssl/relay.key;",
                ],
                &["SSLCertificateFile    /etc/ssl/relay.crt", "SSLCertificateKeyFile /etc/ssl/relay.key"],
                &["relay.example.org {   # Caddy gets a certificate for the name by itself"],
                &["bind :443 ssl crt /etc/ssl/relay.pem   # certificate, issuers and key in one file"],
            ),
        }
    }
}

const TRUST: &str = "trusted_proxies = [\"127.0.0.1\"]   # the address from which the proxy connects to relay";

#[cfg(test)]
mod tests {
    use super::*;

    /// Advice about a proxy has lines for each of the four proxies.
    #[test]
    fn every_proxy_has_lines() {
        for advice in [
            Advice::Upgrade,
            Advice::Forward(String::new(), "/ws".into()),
            Advice::Forward("/relay".into(), "/ws".into()),
            Advice::Sticky,
            Advice::Buffering,
            Advice::Idle,
            Advice::Body(1),
            Advice::Address,
            Advice::OriginHeader,
            Advice::Cors,
            Advice::Certificate,
        ] {
            let lines = advice.lines();
            for program in ["nginx", "Apache", "Caddy", "HAProxy"] {
                assert!(
                    lines.iter().any(|(name, lines)| *name == program && !lines.is_empty()),
                    "{advice:?} {program}"
                );
            }
        }
    }
}
