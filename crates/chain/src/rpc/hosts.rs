//! Which names the server may be called by.
//!
//! A page on the web can point a name of its own at 127.0.0.1 and then, from the browser of somebody
//! who runs a node, talk to it as if it were its own server (DNS rebinding). The browser says in the
//! `Host` header which name it used, and that name is not one of ours.

use std::{net::Ipv6Addr, sync::Arc};

use hyper::{
    Request,
    header::HOST,
    http::uri::{Authority, InvalidUri},
};

use crate::Error;

/// In the list it stands for every name.
const ANY: &str = "*";

/// The names that requests may use. IP addresses always may: nobody can rebind them.
#[derive(Clone, Debug)]
pub(crate) struct AllowedHosts(Arc<[String]>);

impl AllowedHosts {
    /// `names` are host names without a port, or `*`.
    ///
    /// Errors: [`Error::InvalidConfig`] for anything else.
    pub(crate) fn new(names: &[String]) -> Result<Self, Error> {
        let fault = |name: &String| {
            let reason = format!(
                "allowed_hosts: {name:?} is not a host name; give it without scheme, port and path"
            );
            Error::InvalidConfig(reason)
        };
        let is_name = |name: &str| {
            let labels = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            name == ANY || (!name.is_empty() && name.bytes().all(labels))
        };
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(fault(name)),
            None => Ok(Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())),
        }
    }

    /// What to answer if the request names a host that is not allowed. Without a name (HTTP/1.0) it
    /// does not come from a browser.
    pub(crate) fn refusal<B>(&self, request: &Request<B>) -> Option<String> {
        let from_target = request.uri().authority().map(|authority| Ok(authority.clone()));
        let from_headers = request
            .headers()
            .get_all(HOST)
            .iter()
            .map(|value| Authority::try_from(value.as_bytes()));
        from_target.into_iter().chain(from_headers).find_map(|named: Result<_, InvalidUri>| {
            let named = named.ok();
            let host = named.as_ref().map(Authority::host);
            match host {
                Some(host) if self.allows(host) => None,
                _ => Some(format!(
                    "This node does not answer to the name {:?}. Use its IP address or localhost, or \
                     add the name to allowed_hosts (--allowed-host NAME).\n",
                    host.unwrap_or_default()
                )),
            }
        })
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        ipv6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
            || host.parse::<std::net::Ipv4Addr>().is_ok()
            || host == "localhost"
            || self.0.iter().any(|allowed| allowed == ANY || *allowed == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(hosts: &AllowedHosts, host: &[u8]) -> bool {
        hosts.refusal(&Request::builder().header(HOST, host).body(()).unwrap()).is_some()
    }

    #[test]
    fn loopback_names_and_addresses_are_allowed_and_other_names_only_if_listed() {
        let hosts = AllowedHosts::new(&["node.example".to_owned()]).unwrap();
        for host in [
            "localhost",
            "localhost:8545",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1:8545",
            "[::1]:8545",
            "192.168.1.7",
            "node.example",
            "Node.Example:443",
        ] {
            assert!(!refused(&hosts, host.as_bytes()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xnode.example",
            "node.example.evil",
            "sub.node.example",
            "127.1",
            "[::1",
            "",
            "user@evil.example",
            "localhost evil",
            "node.example/..",
        ] {
            assert!(refused(&hosts, host.as_bytes()), "{host}");
        }
        assert!(refused(&hosts, b"\xff\xfe"));
    }

    #[test]
    fn two_names_must_both_be_allowed() {
        let hosts = AllowedHosts::new(&[]).unwrap();
        let request = |target: &str, names: &[&str]| {
            let mut request = Request::builder().uri(target);
            for name in names {
                request = request.header(HOST, *name);
            }
            hosts.refusal(&request.body(()).unwrap())
        };
        assert_eq!(request("/", &[]), None, "HTTP/1.0");
        assert_eq!(request("http://127.0.0.1/", &["localhost"]), None);
        assert!(request("http://evil.example/", &["localhost"]).is_some());
        assert!(request("/", &["localhost", "evil.example"]).is_some());
        let said = request("/", &["evil.example"]).unwrap();
        assert!(said.contains("evil.example") && said.contains("--allowed-host"), "{said}");
    }

    #[test]
    fn only_names_and_the_star_can_be_listed() {
        for bad in ["http://a.example", "a.example:80", "", "a/b", "ä.example", "a b"] {
            let error = AllowedHosts::new(&[bad.to_owned()]).unwrap_err();
            assert!(error.to_string().contains("allowed_hosts"), "{error}");
        }
        let hosts = AllowedHosts::new(&[ANY.to_owned()]).unwrap();
        assert!(!refused(&hosts, b"anything.example"));
    }
}
