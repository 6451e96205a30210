"""A live Java ensemble becomes one of our servers and a Java one again: server by server, on the
same directories and configuration files, clients writing all the while."""

import pytest
import tree
import zk
from ensembles import Loads, assert_one_tree, begin


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)], ids=["leader-last", "leader-first"])
def test_migration_under_load(lab, quorum_kind, long, order):
    if order[0] == 3 and not long:
        pytest.skip("only in the long form")
    ensemble = begin(lab, [zk.JAVA] * 3)
    for connection in tree.write(ensemble[1]):
        connection.end()  # Their sessions would expire while the trees are compared.
    with Loads(ensemble) as loads:
        for target in [quorum_kind, zk.JAVA] * (3 if long else 1):
            for number in order:
                server = ensemble[number]
                configured = server.config_file().read_bytes()
                server.stop()
                server.become(target).start()
                assert server.config_file().read_bytes() == configured
                loads.advance()
                assert len({s.mode() for s in ensemble} & {"leader", "follower"}) == 2
            loads.assert_nobody_lost()
    assert_one_tree(ensemble, ["/v", *loads.acknowledged()])
