//! Which addresses are our own network's, so that a member's definition cannot make the daemon speak to
//! what only we can reach. It refuses to resolve: it judges the address that is about to be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What makes an address one that strangers could not reach, in one word or two; `None` if it is public.
/// An IPv6 address that carries an IPv4 address is judged by that.
pub(super) fn private(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => private_v6(v6),
    }
}

fn private_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [10, ..] | [192, 168, ..] => Some("private"),
        [172, b, ..] if b & 0xf0 == 16 => Some("private"),
        [169, 254, ..] => Some("link-local"),
        // RFC 6598: between a provider and its customers.
        [100, b, ..] if b & 0xc0 == 64 => Some("shared"),
        // RFC 6890: protocol assignments, benchmarks, reserved.
        [192, 0, 0, _] | [240..=255, ..] => Some("reserved"),
        [198, 18 | 19, ..] => Some("benchmark"),
        [224..=239, ..] => Some("multicast"),
        _ => None,
    }
}

fn private_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // RFC 4291: mapped and, long obsolete, compatible. RFC 6052: behind a NAT64.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            private_v4(inside(high, low))
        }
        // RFC 3056: 6to4.
        [0x2002, high, low, ..] => private_v4(inside(high, low)),
        // RFC 8215: NAT64 of local use.
        [0x64, 0xff9b, 1, ..] => Some("private"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("private"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("link-local"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("site-local"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("multicast"),
        _ => None,
    }
}

fn inside(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_networks_are_known_in_every_disguise() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::192.168.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(private(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn everybodys_networks_are_let_through() {
        for text in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "126.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2002:808:808::",
            "2a00::1",
        ] {
            assert_eq!(private(text.parse().unwrap()), None, "{text}");
        }
    }
}
