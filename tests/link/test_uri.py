"""AMQP URLs: RabbitMQ's URI specification, its query parameters, and our refusals."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import SettingsError
from twbridge.link.uri import AUTH_MECHANISMS, Parameters, Tls, parse

MARK = "Zq9_Xw7"


class SpecificationTests(SynchronousTestCase):
    """The table in appendix A of RabbitMQ's URI specification, and its rules."""

    def test_the_table_of_the_specification(self) -> None:
        guest = Parameters()
        rows = {
            "amqp://user:pass@host:10000/vhost": Parameters(
                (("host", 10000),), "user", "pass", "vhost"
            ),
            "amqp://user%61:%61pass@ho%61st:10000/v%2fhost": Parameters(
                (("hoast", 10000),), "usera", "apass", "v/host"
            ),
            "amqp://": guest,
            "amqp://:@/": replace(guest, username="", password="", vhost=""),
            "amqp://user@": replace(guest, username="user"),
            "amqp://user:pass@": replace(guest, username="user", password="pass"),
            "amqp://host": replace(guest, hosts=(("host", 5672),)),
            "amqp://:10000": replace(guest, hosts=(("localhost", 10000),)),
            "amqp:///vhost": replace(guest, vhost="vhost"),
            "amqp://host/": replace(guest, hosts=(("host", 5672),), vhost=""),
            "amqp://host/%2f": replace(guest, hosts=(("host", 5672),)),
            "amqp://[::1]": replace(guest, hosts=(("::1", 5672),)),
        }
        for url, expected in rows.items():
            self.assertEqual(parse(url), expected, url)

    def test_no_path_is_the_vhost_slash_and_the_path_slash_the_empty_vhost(self) -> None:
        self.assertEqual(parse("amqp://h").vhost, "/")
        self.assertEqual(parse("amqp://h/").vhost, "")
        self.assertEqual(parse("amqp://h/%2F").vhost, "/")
        self.assertEqual(parse("amqp://h?heartbeat=5").vhost, "/")

    def test_the_scheme_is_read_in_any_case_and_sets_the_port(self) -> None:
        self.assertEqual(parse("AMQP://h").hosts, (("h", 5672),))
        self.assertIsNone(parse("amqp://h").tls)
        self.assertEqual(parse("AmqpS://h").hosts, (("h", 5671),))
        self.assertEqual(parse("amqps://h").tls, Tls())

    def test_tls_verifies_unless_told_otherwise(self) -> None:
        self.assertEqual(Tls(), Tls(verify=True))
        self.assertEqual(parse("amqps://h?verify=verify_none").tls, Tls(verify=False))

    def test_percent_escapes_are_utf8(self) -> None:
        parameters = parse("amqp://us%C3%A9r:p%40%3A%2F%23@h/caf%C3%A9")
        self.assertEqual(parameters.username, "usér")
        self.assertEqual(parameters.password, "p@:/#")
        self.assertEqual(parameters.vhost, "café")

    def test_ipv6_hosts_with_and_without_a_port(self) -> None:
        self.assertEqual(
            parse("amqp://[::1]:1234,[fe80::1%25eth0]/v").hosts,
            (("::1", 1234), ("fe80::1%eth0", 5672)),
        )

    def test_white_space_around_a_url_is_nothing(self) -> None:
        self.assertEqual(parse("amqp://h/v\n"), parse("amqp://h/v"))


class QueryTests(SynchronousTestCase):
    """RabbitMQ's URI query parameters."""

    def test_the_heartbeat_is_in_seconds_and_the_timeout_in_milliseconds(self) -> None:
        parameters = parse("amqp://myhost?heartbeat=5&connection_timeout=10500")
        self.assertEqual(parameters.heartbeat, 5)
        self.assertEqual(parameters.connection_timeout, 10.5)

    def test_heartbeats_are_on_by_default(self) -> None:
        self.assertEqual(parse("amqp://h").heartbeat, 20)
        self.assertEqual(parse("amqp://h").connection_timeout, 10.0)

    def test_another_default_heartbeat_is_for_urls_that_name_none(self) -> None:
        for url, expected in (
            ("amqp://h", 9),
            ("amqp://h?heartbeat=20", 20),
            ("amqp://h?heartbeat=0", 0),
            ("amqp://h,amqp://i", 9),
        ):
            self.assertEqual(parse(url, heartbeat=9).heartbeat, expected)

    def test_the_files_of_tls(self) -> None:
        parameters = parse(
            "amqps://myhost?cacertfile=/path/to/ca.pem&certfile=/a%20b.pem&keyfile=key.pem"
            "&verify=verify_peer&server_name_indication=broker.example"
        )
        self.assertEqual(
            parameters.tls,
            Tls(True, "/path/to/ca.pem", "/a b.pem", "key.pem", "broker.example"),
        )

    def test_the_mechanism_in_any_case(self) -> None:
        for mechanism in AUTH_MECHANISMS:
            for written in (mechanism, mechanism.lower()):
                parameters = parse(f"amqp://h?auth_mechanism={written}")
                self.assertEqual(parameters.auth_mechanism, mechanism)


class HostsTests(SynchronousTestCase):
    """Several hosts of a cluster in one setting."""

    def test_hosts_are_separated_by_commas_and_keep_their_order(self) -> None:
        self.assertEqual(
            parse("amqp://u:p@h1:5672,h2,[::1]:9/v").hosts,
            (("h1", 5672), ("h2", 5672), ("::1", 9)),
        )
        self.assertEqual(parse("amqps://h1,h2:1").hosts, (("h1", 5671), ("h2", 1)))

    def test_whole_urls_may_be_joined_when_only_their_hosts_differ(self) -> None:
        joined = parse("amqp://u:p@h1/v?heartbeat=5,amqp://u:p@h2:7/v?heartbeat=5")
        self.assertEqual(joined, parse("amqp://u:p@h1,h2:7/v?heartbeat=5"))
        for other in ("amqp://u:q@h2/v", "amqp://u:p@h2/w", "amqps://u:p@h2/v", "amqp://h2/v"):
            with self.assertRaises(SettingsError) as caught:
                parse(f"amqp://u:p@h1/v,{other}")
            self.assertIn("hosts only", str(caught.exception))


class RefusalTests(SynchronousTestCase):
    """Every mistake is one line that says how to write it, and never the password."""

    def refusal(self, url: str) -> str:
        with self.assertRaises(SettingsError) as caught:
            parse(url)
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        self.assertTrue(text.startswith("AMQP URL: "), text)
        return text

    def test_an_unknown_scheme_names_the_two_known_ones(self) -> None:
        for url in ("", "localhost", "http://h", "amqp:/h", "amqp+ssl://h", "guest:pw@h"):
            self.assertIn("amqp:// or amqps://", self.refusal(url))

    def test_an_unknown_parameter_names_the_nearest_known(self) -> None:
        self.assertIn("did you mean heartbeat?", self.refusal("amqp://h?hartbeat=5"))
        self.assertIn("did you mean cacertfile?", self.refusal("amqps://h?cacert=x"))
        self.assertIn("did you mean connection_timeout?", self.refusal("amqp://h?timeout=5"))
        self.assertIn("'%s'" % ("x" * 39 + "…"), self.refusal("amqp://h?" + "x" * 99))

    def test_a_bad_value_names_its_parameter(self) -> None:
        rows = {
            "heartbeat=-1": "heartbeat is a whole number of seconds",
            "heartbeat=1.5": "heartbeat is a whole number of seconds",
            "heartbeat=65536": "from 0 to 65535",
            "heartbeat=٣": "heartbeat is a whole number of seconds",
            "connection_timeout=0": "whole number of milliseconds from 1",
            "heartbeat=": "heartbeat has no value",
            "heartbeat": "heartbeat has no value",
            "heartbeat=1&heartbeat=2": "heartbeat is given twice",
            "auth_mechanism=cram": "plain, amqplain, external, not 'cram'",
            "verify=yes": "verify_peer, verify_none, not 'yes'",
            "keyfile=k.pem": "keyfile needs certfile",
            "server_name_indication=a%20b": "server_name_indication must be a host name",
            "cacertfile=%ff": "cacertfile is not UTF-8",
        }
        for query, expected in rows.items():
            self.assertIn(expected, self.refusal(f"amqps://h/v?{query}"))

    def test_a_tls_parameter_without_tls_is_refused(self) -> None:
        self.assertIn("cacertfile needs amqps://", self.refusal("amqp://h?cacertfile=/ca.pem"))
        self.assertIn("verify needs amqps://", self.refusal("amqp://h?verify=verify_none"))

    def test_a_bad_host_or_port_is_refused(self) -> None:
        for port in ("x", "0", "65536", "-1", "5672x", "٣"):
            self.assertIn("a port is a number", self.refusal(f"amqp://h:{port}/v"))
        for host in ("::1", "[::1", "[nope]", "[::1]5672", "a:1:2"):
            self.assertIn("[address]:port", self.refusal(f"amqp://{host}/v"))
        for host in ("a..b", "-a", "h;x", "x" * 64, ".".join(["x" * 63] * 5), "a%2Fb"):
            self.assertIn("a host is a name", self.refusal(f"amqp://{host}/v"))

    def test_a_slash_in_the_vhost_must_be_escaped(self) -> None:
        self.assertIn("%2F", self.refusal("amqp://h//"))
        self.assertIn("%2F", self.refusal("amqp://h/a/b"))

    def test_what_amqp_can_not_carry_is_refused(self) -> None:
        self.assertIn("NUL", self.refusal("amqp://a%00b@h"))
        self.assertIn("NUL", self.refusal("amqp://a:b%00@h"))
        self.assertIn("255 bytes", self.refusal("amqp://h/" + "%C3%A9" * 128))
        self.assertIn("UTF-8", self.refusal("amqp://h/%ff"))
        self.assertIn("percent-encode", self.refusal("amqp://h/a b"))
        self.assertIn("%25", self.refusal("amqp://h/100%"))

    @given(
        st.text("@/?#:[]%,&= \n0aé\x00\ud800", max_size=6),
        st.text("@/?#:[]%,&= \n0aé\x00\ud800", max_size=6),
        st.sampled_from(["amqp", "amqps", "http"]),
        st.sampled_from(
            ["@", "@h", "@h:x/v", "@[::1/v?hart=5", "@h/v?verify=x", "@h,amqp://a:b@c"]
        ),
    )
    @example("", "/more", "amqp", "@host")
    @example("", "?heartbeat=1", "amqp", "@host")
    def test_no_refusal_holds_the_password(
        self, before: str, after: str, scheme: str, rest: str
    ) -> None:
        try:
            parameters = parse(f"{scheme}://user:{before}{MARK}{after}{rest}")
        except SettingsError as error:
            self.assertNotIn(MARK, str(error))
            self.assertNotIn("\n", str(error))
            self.assertIsNone(error.__cause__)
        else:
            self.assertNotIn(MARK, repr(replace(parameters, vhost="", hosts=())))


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5})?", fullmatch=True),
    st.ip_addresses().map(str),
)
files = st.none() | names.filter(bool)


@st.composite
def tls_settings(draw: st.DrawFn) -> Tls:
    certfile = draw(files)
    return Tls(
        verify=draw(st.booleans()),
        cacertfile=draw(files),
        certfile=certfile,
        keyfile=draw(files) if certfile else None,
        server_name=draw(st.none() | st.just("broker.example")),
    )


parameters = st.builds(
    Parameters,
    hosts=st.lists(st.tuples(hosts, st.integers(1, 65535)), min_size=1, max_size=4).map(tuple),
    username=names,
    password=names,
    vhost=names.filter(lambda name: len(name.encode()) <= 255),
    tls=st.none() | tls_settings(),
    heartbeat=st.integers(0, 65535),
    connection_timeout=st.integers(1, 3_600_000).map(lambda milliseconds: milliseconds / 1000),
    auth_mechanism=st.sampled_from(AUTH_MECHANISMS),
)


class RoundTripTests(SynchronousTestCase):
    """What is written is what is read."""

    @given(parameters)
    def test_the_written_url_reads_back_without_the_password(self, given: Parameters) -> None:
        self.assertEqual(parse(str(given)), replace(given, password="guest"))

    @given(parameters)
    def test_a_url_with_a_password_reads_back_whole(self, given: Parameters) -> None:
        user = quote(given.username, safe="")
        url = str(given).replace(f"://{user}@", f"://{user}:{quote(given.password, safe='')}@", 1)
        self.assertEqual(parse(url), given)

    def test_neither_text_nor_repr_show_the_password(self) -> None:
        parsed = parse(f"amqps://u:{MARK}@h/v?heartbeat=7")
        self.assertNotIn(MARK, str(parsed))
        self.assertNotIn(MARK, repr(parsed))
        self.assertEqual(str(parsed), "amqps://u@h:5671/v?heartbeat=7")

    @given(st.text(max_size=40))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        for url in (text, f"amqp://{text}", f"amqps://u:p@h/v?{text}"):
            try:
                parse(url)
            except SettingsError as error:
                self.assertNotIn("\n", str(error))
