"""A sample counts for the work it was taken in: the receiving half of loopback runs inside the sender's call."""

import pytest

from bench.fanout.profile import group_of

ENTRY = ["do_syscall_64", "entry_SYSCALL_64_after_hwframe", "__send", "sock_send", "_PyEval_EvalFrameDefault"]
SENDING = ["tcp_sendmsg_locked", "tcp_sendmsg", "inet_sendmsg", "__sys_sendto", *ENTRY]


@pytest.mark.parametrize(
    ("functions", "group"),
    [
        (["_raw_spin_unlock_irqrestore", "sock_def_readable", "tcp_rcv_established", "handle_softirqs", *SENDING],
         "waking the reader"),
        (["tcp_ack", "tcp_rcv_established", "net_rx_action", "handle_softirqs", *SENDING], "receiving on loopback"),
        (["__alloc_skb", *SENDING], "sending"),
        (["fdget", "__sys_sendto", *ENTRY], "entering the kernel"),
        (["take_gil", "sock_call_ex", "sock_send", "_PyEval_EvalFrameDefault"], "calling send"),
        (["visit_decref", "gc_collect_main", "_PyObject_GC_Link"], "garbage collector"),
        (["_PyEval_EvalFrameDefault"], "Python"),
        (["broadcast", "main"], "other code of the program"),
    ],
)  # fmt: skip
def test_a_sample_belongs_to_the_first_group_in_its_chain(functions: list[str], group: str) -> None:
    assert group_of(functions) == group
