//! Which web pages may use the server.

use std::sync::Arc;

use hyper::{
    HeaderMap, Method,
    header::{CONTENT_TYPE, HeaderValue, ORIGIN},
    http::uri::Uri,
};
use tower_http::cors::{Any, CorsLayer};

use crate::Error;

/// In the list it stands for every page.
const ANY: &str = "*";

/// The origins whose pages may use the server.
#[derive(Clone, Debug)]
pub(super) enum Origins {
    Any,
    Listed(Arc<[HeaderValue]>),
}

impl Origins {
    /// `origins` as a browser writes them (`https://app.example`), or `*`. A development chain lets
    /// any page in unless some are listed.
    ///
    /// Errors: [`Error::InvalidConfig`] for anything else.
    pub(super) fn new(origins: &[String], dev: bool) -> Result<Self, Error> {
        if origins.iter().any(|origin| origin == ANY) || (dev && origins.is_empty()) {
            return Ok(Self::Any);
        }
        let listed: Option<Vec<_>> = origins.iter().map(|origin| header(origin)).collect();
        match listed {
            Some(listed) => Ok(Self::Listed(listed.into())),
            None => Err(Error::InvalidConfig(format!(
                "cors_origins: {origins:?} must be scheme and host, such as \"https://app.example\", \
                 without a path"
            ))),
        }
    }

    /// Whether a WebSocket may be opened. Browsers do not ask beforehand there, as they do for HTTP:
    /// the server has to look. Programs that are no browser send no origin.
    pub(super) fn allow_web_socket(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => {
                headers.get_all(ORIGIN).iter().all(|origin| listed.contains(origin))
            }
        }
    }

    /// What answers a browser that asks beforehand.
    pub(super) fn cors(&self) -> CorsLayer {
        match self {
            Self::Any => CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any),
            Self::Listed(listed) => CorsLayer::new()
                .allow_origin(listed.to_vec())
                .allow_methods([Method::POST])
                .allow_headers([CONTENT_TYPE]),
        }
    }
}

/// An origin as it stands in the header: lower case, no path (RFC 6454).
fn header(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    uri.host()?;
    let (scheme, rest) = origin.split_once("://")?;
    let plain = !scheme.is_empty() && !rest.contains(['/', '?', '@']) && !origin.contains('*');
    plain.then(|| HeaderValue::from_str(&origin.to_ascii_lowercase()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web_socket(origins: &Origins, origin: Option<&'static str>) -> bool {
        let header = origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin)));
        origins.allow_web_socket(&header.into_iter().collect())
    }

    #[test]
    fn a_page_may_open_a_web_socket_only_if_its_origin_is_listed() {
        let listed = Origins::new(&["https://App.example".to_owned()], true).unwrap();
        assert!(web_socket(&listed, Some("https://app.example")));
        assert!(web_socket(&listed, None), "not a browser");
        for other in ["http://app.example", "https://app.example.evil", "null", "https://evil"] {
            assert!(!web_socket(&listed, Some(other)), "{other}");
        }
        let nobody = Origins::new(&[], false).unwrap();
        assert!(!web_socket(&nobody, Some("http://localhost")));
        let development = Origins::new(&[], true).unwrap();
        assert!(web_socket(&development, Some("https://any.example")));
        let everybody = Origins::new(&[ANY.to_owned()], false).unwrap();
        assert!(web_socket(&everybody, Some("https://any.example")));
    }

    #[test]
    fn what_no_browser_would_send_cannot_be_listed() {
        for bad in
            ["app.example", "https://app.example/", "https://*.example", "", "https://", "a b"]
        {
            let error = Origins::new(&[bad.to_owned()], false).unwrap_err();
            assert!(error.to_string().contains("cors_origins"), "{error}");
        }
        for good in ["https://app.example:8443", "chrome-extension://abcdef", "http://[::1]:3000"] {
            assert!(Origins::new(&[good.to_owned()], false).is_ok(), "{good}");
        }
    }
}
