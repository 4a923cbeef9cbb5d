//! Lines whose content is a function of their id.

/// The line of `file` numbered `n`, without its line end.
///
/// Lengths straddle small and page-sized lines: most are 40 to 240 bytes, one in 97 is over 5,000.
pub fn line(file: u32, n: u64) -> String {
    let mut state = (u64::from(file) << 40) ^ n ^ 0x9e37_79b9_7f4a_7c15;
    let length = if n.is_multiple_of(97) { 5_000 + n % 300 } else { n % 200 };
    let mut text = format!("lw {file:04} {n:010} ");
    for _ in 0..length {
        // xorshift64: any cheap function of the id serves.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(b'a' + (state % 26) as u8));
    }
    text
}

/// The id in a line, if it has one: file and number.
pub fn parse(text: &str) -> Option<(u32, u64)> {
    let mut words = text.split(' ');
    if words.next()? != "lw" {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
