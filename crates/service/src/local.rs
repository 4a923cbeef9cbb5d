//! A door on this machine: a port where whoever is on it may ask, and that a web page can reach as well.
//!
//! A browser on this machine sends what any page asks it to. So a request is answered only when it is addressed to this machine by a
//! name that no page can make its own (against DNS rebinding), and when it does not come from another page (`Sec-Fetch-Site`,
//! `Origin`, `Referer`). All this is decided before anything runs. Programs send none of these headers and are not hindered.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Uri,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERER, REFERRER_POLICY, USER_AGENT,
            X_CONTENT_TYPE_OPTIONS,
        },
        uri::Authority,
    },
    middleware::{self, Next},
    response::Response,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The names by which the door may be addressed beside those of every machine for itself.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: Arc<[String]>,
    key: Option<&'static str>,
}

impl Hosts {
    /// Takes the names that the configuration's `key` gives.
    pub fn new(names: Vec<String>, key: &'static str) -> Self {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { names, key: Some(key) }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
            || self.names.contains(&host)
    }
}

/// Lets only those requests through that no foreign page can have asked for. `refuse` answers the others, by the reason and the headers.
pub fn guarded(router: Router, hosts: Hosts, refuse: fn(&str, &HeaderMap) -> Response) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let refusal = check(&hosts, request.uri(), request.headers())
            .map_err(|reason| refuse(&reason, request.headers()));
        async move {
            match refusal {
                Ok(()) => next.run(request).await,
                Err(refusal) => refusal,
            }
        }
    }))
}

/// Answers that a browser neither guesses about, nor keeps, nor shows in a page of others.
pub fn closed_to_pages(router: Router) -> Router {
    router.layer(middleware::map_response(|mut response: Response| async move {
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
            (CACHE_CONTROL, "no-store"),
            (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }))
}

fn check(hosts: &Hosts, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
    let authority = addressed_to(uri, headers)?;
    if !hosts.knows(authority.host()) {
        let host = authority.host();
        let or = hosts.key.map(|key| format!(", or let {key} name it")).unwrap_or_default();
        return Err(format!(
            "this door is for localhost and not for {host:.64?}; ask for http://localhost{or}"
        ));
    }

    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match text(SEC_FETCH_SITE) {
        Some("same-origin" | "none") => {}
        Some(_) => return Err("a page of another site may not ask here".to_owned()),
        None if text(USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/")) => {
            let told = "a browser that does not say where a request comes from (Sec-Fetch-Site) may not ask here; \
                        use http://localhost or a newer browser";
            return Err(told.to_owned());
        }
        None => {}
    }
    let is_own = |origin: &str| {
        let origin: Option<Uri> = origin.parse().ok();
        origin.and_then(|origin| origin.into_parts().authority).is_some_and(|origin| origin == authority)
    };
    for (name, value) in [("origin", text(ORIGIN)), ("referer", text(REFERER))] {
        if value.is_some_and(|value| !is_own(value)) {
            return Err(format!("a page of another site may not ask here ({name})"));
        }
    }
    Ok(())
}

/// Whom a request is addressed to. Two answers would let one be checked and the other be used.
fn addressed_to(uri: &Uri, headers: &HeaderMap) -> Result<Authority, String> {
    let mut named: Vec<Authority> = uri.authority().cloned().into_iter().collect();
    for value in headers.get_all(HOST) {
        let host = value.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        named.push(host.ok_or("the header `host` holds no name of a host")?);
    }
    let first = named.first().cloned().ok_or("the request names no host: send the header `host`")?;
    // `user@localhost` is another way to write a name, and none that anybody needs.
    let is_plain = !first.as_str().contains('@');
    if is_plain && named.iter().all(|other| *other == first) {
        return Ok(first);
    }
    Err("the request names more than one host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        check(&Hosts::new(vec!["Lapwing.lan".to_owned()], "[server] http_hosts"), &uri.parse().unwrap(), &map)
    }

    const SQL: &str = "/api/v1/sql?q=SELECT%201";

    #[test]
    fn programs_on_this_machine_are_answered() {
        for host in
            ["localhost:7401", "LOCALHOST", "127.0.0.1:7401", "127.9.9.9", "[::1]:7401", "lapwing.lan"]
        {
            assert_eq!(asked(SQL, &[("host", host), ("user-agent", "curl/8.5.0")]), Ok(()), "{host}");
        }
        // HTTP/2 has it in the URI.
        assert_eq!(asked("http://127.0.0.1:7401/lapwing.v1.QueryService/Sql", &[]), Ok(()));
        // A browser that was sent here by its user, and a page of our own.
        let own = ("host", "localhost:7401");
        let mozilla = ("user-agent", "Mozilla/5.0");
        assert_eq!(asked(SQL, &[own, mozilla, ("sec-fetch-site", "none")]), Ok(()));
        let same = [own, mozilla, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:7401")];
        assert_eq!(asked(SQL, &same), Ok(()));
    }

    #[test]
    fn what_a_page_can_have_asked_for_is_refused() {
        let own = ("host", "localhost:7401");
        for headers in [
            &[][..],
            &[("host", "attacker.example")],
            &[("host", "localhost.attacker.example")],
            &[("host", "127.0.0.1.nip.io")],
            &[("host", "10.0.0.1:7401")],
            &[("host", "a@localhost")],
            &[("host", "localhost"), ("host", "attacker.example")],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-site")],
            &[own, ("sec-fetch-site", "")],
            &[own, ("origin", "https://attacker.example")],
            &[own, ("origin", "null")],
            &[own, ("origin", "http://localhost:3000")],
            &[own, ("referer", "https://attacker.example/page")],
            &[own, ("user-agent", "Mozilla/5.0 (Macintosh) Safari/605")],
        ] {
            assert!(asked(SQL, headers).is_err(), "{headers:?}");
        }
        assert!(asked("http://attacker.example/lapwing.v1.QueryService/Sql", &[]).is_err());
        assert!(asked("http://attacker.example/", &[own]).is_err());
    }
}
