//! Which addresses may be looked at for a preview: none of the server's own network.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Whether a URL may be fetched, as far as it shows by itself where it leads.
pub fn is_public_url(url: &Url) -> bool {
    let has_no_secret = url.username().is_empty() && url.password().is_none();
    let is_public = match url.host() {
        Some(Host::Domain(name)) => is_public_name(name),
        Some(Host::Ipv4(address)) => is_public(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => is_public(IpAddr::V6(address)),
        None => false,
    };
    matches!(url.scheme(), "http" | "https") && has_no_secret && is_public
}

/// Names that never lead to a server of the public internet.
fn is_public_name(name: &str) -> bool {
    const PRIVATE: [&str; 8] =
        ["localhost", "local", "internal", "intranet", "home.arpa", "lan", "test", "invalid"];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_below = |end: &&str| name == **end || name.ends_with(&format!(".{end}"));
    name.contains('.') && !PRIVATE.iter().any(is_below)
}

/// Whether an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation();
    let is_reserved = match (a, b, c) {
        (0, ..) | (240.., ..) => true,
        // Shared by the customers of a provider: RFC 6598.
        (100, 64..=127, _) => true,
        // Protocol assignments, relays, benchmarks.
        (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => true,
        _ => false,
    };
    !is_special && !is_reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Addresses that carry one of version 4 are as public as that one.
    let segments = address.segments();
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, documentation and benchmarks lie inside of what is global.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,
        // Global unicast is 2000::/3; everything else is local or not in use.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ok(url: &str) -> bool {
        is_public_url(&Url::parse(url).unwrap())
    }

    #[test]
    fn the_public_internet_may_be_looked_at() {
        for url in [
            "https://example.org/",
            "http://example.org:8080/x",
            "https://93.184.216.34/",
            "https://[2606:2800:220:1::1]/",
            "https://[64:ff9b::5db8:d822]/",
        ] {
            assert!(is_ok(url), "{url}");
        }
    }

    #[test]
    fn the_servers_own_network_may_not() {
        for url in [
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://user:secret@example.org/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://printer/",
            "http://nas.local/",
            "http://metadata.google.internal/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::]/",
            "http://[::1]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[ff02::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[::10.0.0.1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[2002:a00:1::]/",
            "http://[2001:db8::1]/",
        ] {
            assert!(!is_ok(url), "{url}");
        }
    }
}
