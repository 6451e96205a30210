//! Session passwords: 16 bytes that every server can compute from the session id (C-90).
//! Java: `ZooKeeperServer.generatePasswd`, `checkPasswd`; `java.util.Random`.

/// What Java's servers mix into the id.
const SUPER_SECRET: i64 = 0xB341_5C00;

/// The password of a session: `new java.util.Random(id ^ SUPER_SECRET).nextBytes(16 bytes)`, that
/// is four steps of a 48-bit linear congruential generator, the high 32 bits of each.
pub fn generate_password(session: i64) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session ^ SUPER_SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether `password` proves a claim to the session.
pub fn check_password(session: i64, password: Option<&[u8]>) -> bool {
    session != 0 && password == Some(&generate_password(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_as_java_makes_them() {
        let table = [
            (1, "054cc74a37327db215e702e20c73f005"),
            // Random keeps 48 bits of its seed: the server's byte does not matter.
            (0x0100_0000_0000_0001, "054cc74a37327db215e702e20c73f005"),
            (-1, "20f62cb5648dc2d771471c8a2486a9ee"),
            (0x1234_5678_90ab_cdef, "f7721b383fd583ba74d220ede39f7b43"),
        ];
        for (session, want) in table {
            let got: String =
                generate_password(session).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(got, want, "{session:#x}");
        }
    }

    #[test]
    fn session_zero_has_no_password() {
        assert!(check_password(7, Some(&generate_password(7))));
        assert!(!check_password(7, Some(&generate_password(8))));
        assert!(!check_password(7, None));
        assert!(!check_password(0, Some(&generate_password(0))));
    }
}
