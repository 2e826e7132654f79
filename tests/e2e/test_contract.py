"""What every profile does, whichever part brings it: visited by the process's own list of rows.

The profile "rain" is a sampler and a part that live in the tests only (programs/rain_*.hpp). That it passes
proves that a profile needs no line of the core.
"""

import re
import unittest
import urllib.error
import urllib.request

from support import harness, pprof_check

SECONDS = 1
# The rows of the list in process/part.hpp that no part of this version brings.
SWITCH_ROW = re.compile(r'X\((?:\w+, \w+, )?"(PROF_ENABLE_\w+)", +"([a-z ]+)"\)')


class Row:
    def __init__(self, line):
        words = line.split(" ")
        self.name, self.default_seconds, self.delta, self.has_text = words[1], int(words[2]), words[3], words[4] == "1"


class Contract(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program = harness.build(["contract.cpp"], "contract", optimize="-O0")
        cls.server = harness.Server(program, harness.BUILD)
        cls.addClassCleanup(cls.server.__exit__)
        cls.rows = []
        for line in cls.server.process.stdout:
            if line.startswith("done"):
                break
            cls.rows.append(Row(line.rstrip("\n")))

    def get(self, row, query=""):
        """Body and headers."""
        with urllib.request.urlopen(self.server.url(row.name + query), timeout=30) as answer:
            return answer.read(), answer.headers

    def check_profile(self, body):
        profile = pprof_check.parse(body)
        self.assertEqual(pprof_check.validate(profile), [])
        self.check_work(profile)
        return profile

    def check_work(self, profile):
        self.assertGreater(pprof_check.find(profile, "^contract_work$", profile.sample_type[0].type), 0)
        labelled = [sample for sample in profile.sample
                    if ("work", "steady") in {(label.key, label.str) for label in sample.label}]
        self.assertTrue(any("contract_work" in profile.stack(sample) for sample in labelled))

    def test_the_list_has_what_tests_and_parts_bring(self):
        self.assertLessEqual({"rain", "heap", "allocs", "profile"}, {row.name for row in self.rows})

    def test_a_profile_is_a_download_under_its_name(self):
        for row in self.rows:
            with self.subTest(profile=row.name):
                body, headers = self.get(row, f"?seconds={SECONDS}" if row.default_seconds else "")
                self.assertEqual(headers["Content-Type"], "application/octet-stream")
                self.assertEqual(headers["Content-Disposition"], f'attachment; filename="{row.name}"')
                profile = self.check_profile(body)
                file = harness.BUILD / f"{row.name}.pb.gz"
                file.write_bytes(body)
                self.assertIn("contract_work", harness.pprof("-top", file))
                self.assertEqual(profile.duration_nanos != 0, row.default_seconds != 0)

    def test_a_difference_has_the_time_and_the_name_of_one(self):
        for row in self.rows:
            with self.subTest(profile=row.name):
                if row.default_seconds == 0:
                    self.assertEqual(row.delta, row.name + "-delta")
                    body, headers = self.get(row, f"?seconds={SECONDS}")
                    self.assertEqual(headers["Content-Disposition"], f'attachment; filename="{row.delta}"')
                    profile = pprof_check.parse(body)
                    self.assertEqual(pprof_check.validate(profile), [])
                    self.assertGreater(profile.duration_nanos, 0.9e9 * SECONDS)
                    whole = pprof_check.parse(self.get(row)[0])
                    if [kind.type for kind in whole.sample_type] == [row.name]:
                        continue  # counts what there is now: the difference may be nothing
                    self.check_work(profile)
                    self.assertLess(pprof_check.find(profile, "^contract_work$", profile.sample_type[0].type),
                                    pprof_check.find(whole, "^contract_work$", profile.sample_type[0].type))

    def test_debug_1_is_a_text_where_the_row_has_one(self):
        for row in self.rows:
            with self.subTest(profile=row.name):
                body, headers = self.get(row, "?debug=1" + (f"&seconds={SECONDS}" if row.default_seconds else ""))
                if row.has_text:
                    self.assertEqual(headers["Content-Type"], "text/plain; charset=utf-8")
                    self.assertIsNone(headers["Content-Disposition"])
                    self.assertRegex(body.decode(), r"\A\S.*\n")
                else:
                    self.check_profile(body)

    def test_every_writer_takes_every_row(self):
        for row in self.rows:
            with self.subTest(profile=row.name):
                body, headers = self.get(row, "?format=top" + (f"&seconds={SECONDS}" if row.default_seconds else ""))
                self.assertEqual(headers["Content-Type"], "text/plain; charset=utf-8")
                self.assertRegex(body.decode(), r"(?s)\AType: \w+\n.*Showing nodes.*%")

    def test_the_index_and_the_status_have_it(self):
        index, status = self.server.get("").decode(), self.server.get("status").decode()
        for row in self.rows:
            with self.subTest(profile=row.name):
                self.assertRegex(index.replace('"', "'"), rf"'{row.name}(\?[^']*)?'")
        for words in ("rain places: ", "heap samples: ", "CPU samples"):
            self.assertIn(words.lower(), status.lower())

    def test_a_forked_child_writes_its_own(self):
        self.assertEqual(self.server.say("fork"), ["parents forgotten 1", "child 0"])
        for row in self.rows:
            with self.subTest(profile=row.name):
                self.check_profile((harness.BUILD / f"{row.name}.child.pb.gz").read_bytes())

    def test_what_is_off_is_a_404_that_names_its_switch(self):
        lists = (harness.ROOT / "include/prof/process/part.hpp").read_text()
        switches = set(re.findall(r'X\(.*"(PROF_ENABLE_\w+)"', lists)) - {"PROF_ENABLE_HTTP"}
        program = harness.build(["contract_off.cpp"], "contract_off", flags=[f"-D{one}=0" for one in sorted(switches)],
                                optimize="-O0")
        listed = SWITCH_ROW.findall(lists)
        self.assertGreater(len(listed), 4)
        with harness.Server(program) as server:
            for switch, names in listed:
                for name in names.split():
                    with self.subTest(profile=name), self.assertRaises(urllib.error.HTTPError) as refused:
                        server.get(name)
                    self.assertEqual(refused.exception.code, 404)
                    self.assertIn(switch, refused.exception.read().decode())


if __name__ == "__main__":
    unittest.main()
