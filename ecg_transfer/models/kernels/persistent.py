"""The Triton kernels of `ecg_transfer.models.persistent`: each walks through all time steps of a few records.

Shape legend besides that of `ecg_transfer.models.backbone`: `D` directions, `H` hidden units, `W` = `WIDTH` of them
with the zeros that fill up to a power of two, `I` = `INPUTS` leads likewise. Weights and biases have `W` units, those
past `H` are zeros: the units that are not there compute harmless numbers that nobody reads.

    signal    (B, T, leads)     any precision
    weight_x  (D, gates, W, I)  the precision of the products, bfloat16; so are all that is not said to be of another
    weight_h  (D, gates, W, W)
    bias      (D, 4, W)         float32
    gates     (D, B, T, 4, W)   forward leaves what backward needs, backward puts the slopes in its place
    cells     (D, B, T + 1, W)  float32; what is carried before each step, in the order of the steps, and after them
    states    (B, T, D * H)     so is the loss's slope in them, `grad`

A kernel's program is `ROWS` records in one direction; the second direction walks from the last sample to the first.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _sigmoid(x: tl.tensor) -> tl.tensor:
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x: tl.tensor) -> tl.tensor:
    return 2 / (1 + tl.exp(-2 * x)) - 1


@triton.jit
def _weights(
    weights: tl.tensor, gate: tl.constexpr, GATES: tl.constexpr, READ: tl.constexpr, WIDTH: tl.constexpr
) -> tl.tensor:
    """One gate's weights as what a row of `READ` inputs is multiplied by, `(READ, WIDTH)`."""
    inputs, units = tl.arange(0, READ)[:, None], tl.arange(0, WIDTH)[None, :]
    return tl.load(weights + ((tl.program_id(1) * GATES + gate) * WIDTH + units) * READ + inputs)


@triton.jit
def _weights_back(weights: tl.tensor, gate: tl.constexpr, GATES: tl.constexpr, WIDTH: tl.constexpr) -> tl.tensor:
    """One gate's weights as what a row of its slopes is multiplied by, `(WIDTH, WIDTH)`."""
    units, inputs = tl.arange(0, WIDTH)[:, None], tl.arange(0, WIDTH)[None, :]
    return tl.load(weights + ((tl.program_id(1) * GATES + gate) * WIDTH + units) * WIDTH + inputs)


@triton.jit
def _own(
    gates: tl.tensor,
    cells: tl.tensor,
    rows: tl.tensor,
    units: tl.tensor,
    num_records: int,
    num_steps: int,
    WIDTH: tl.constexpr,
) -> tl.tuple:
    """Where the gates and cells of a program's records begin."""
    record = tl.program_id(1) * num_records + rows
    return gates + record * num_steps * 4 * WIDTH + units, cells + record * (num_steps + 1) * WIDTH + units


@triton.jit
def _load_gates(place: tl.tensor, here: tl.tensor, WIDTH: tl.constexpr) -> tl.tuple:
    """The four numbers of each unit at a step."""
    return (
        tl.load(place, mask=here, other=0),
        tl.load(place + WIDTH, mask=here, other=0),
        tl.load(place + 2 * WIDTH, mask=here, other=0),
        tl.load(place + 3 * WIDTH, mask=here, other=0),
    )


@triton.jit
def _store_gates(
    place: tl.tensor,
    one: tl.tensor,
    two: tl.tensor,
    three: tl.tensor,
    four: tl.tensor,
    here: tl.tensor,
    WIDTH: tl.constexpr,
) -> None:
    """In the precision of what they are stored in."""
    dtype: tl.constexpr = place.dtype.element_ty
    tl.store(place, one.to(dtype), mask=here)
    tl.store(place + WIDTH, two.to(dtype), mask=here)
    tl.store(place + 2 * WIDTH, three.to(dtype), mask=here)
    tl.store(place + 3 * WIDTH, four.to(dtype), mask=here)


@triton.jit
def lstm_forward(
    signal: tl.tensor,
    weight_x: tl.tensor,
    weight_h: tl.tensor,
    bias: tl.tensor,
    gates: tl.tensor,
    cells: tl.tensor,
    states: tl.tensor,
    num_records: int,
    num_steps: int,
    num_leads: int,
    hidden: int,
    INPUTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KEPT: tl.constexpr,
) -> None:
    """All states of an LSTM; with `KEPT` also the gates i, f, g, o and the cell states, for backward."""
    direction, directions, last = tl.program_id(1), tl.num_programs(1), num_steps - 1
    dtype: tl.constexpr = weight_h.dtype.element_ty
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    units, leads = tl.arange(0, WIDTH)[None, :], tl.arange(0, INPUTS)[None, :]
    here = rows < num_records
    is_unit, is_lead = here & (units < hidden), here & (leads < num_leads)
    signal += rows * num_steps * num_leads + leads
    states += (rows * num_steps * directions + direction) * hidden + units
    gates, cells = _own(gates, cells, rows, units, num_records, num_steps, WIDTH)
    bias += direction * 4 * WIDTH + units
    x_i, h_i = _weights(weight_x, 0, 4, INPUTS, WIDTH), _weights(weight_h, 0, 4, WIDTH, WIDTH)
    x_f, h_f = _weights(weight_x, 1, 4, INPUTS, WIDTH), _weights(weight_h, 1, 4, WIDTH, WIDTH)
    x_g, h_g = _weights(weight_x, 2, 4, INPUTS, WIDTH), _weights(weight_h, 2, 4, WIDTH, WIDTH)
    x_o, h_o = _weights(weight_x, 3, 4, INPUTS, WIDTH), _weights(weight_h, 3, 4, WIDTH, WIDTH)
    b_i, b_f, b_g, b_o = _load_gates(bias, units >= 0, WIDTH)

    c = tl.zeros((ROWS, WIDTH), tl.float32)
    h = tl.zeros((ROWS, WIDTH), dtype)
    x = tl.load(signal + direction * last * num_leads, mask=is_lead, other=0).to(dtype)
    for step in range(num_steps):
        time = step + direction * (last - 2 * step)
        following = tl.minimum(step + 1, last)
        following += direction * (last - 2 * following)
        next_x = tl.load(signal + following * num_leads, mask=is_lead, other=0).to(dtype)
        if KEPT:
            tl.store(cells + step * WIDTH, c, mask=here)
        i = _sigmoid(tl.dot(h, h_i, tl.dot(x, x_i)) + b_i)
        f = _sigmoid(tl.dot(h, h_f, tl.dot(x, x_f)) + b_f)
        g = _tanh(tl.dot(h, h_g, tl.dot(x, x_g)) + b_g)
        o = _sigmoid(tl.dot(h, h_o, tl.dot(x, x_o)) + b_o)
        c = f * c + i * g
        h = (o * _tanh(c)).to(dtype)
        tl.store(states + time * directions * hidden, h, mask=is_unit)
        if KEPT:
            kept = gates + time * 4 * WIDTH
            _store_gates(kept, i, f, g, o, here, WIDTH)
        x = next_x
    if KEPT:
        tl.store(cells + num_steps * WIDTH, c, mask=here)


@triton.jit
def lstm_backward(
    grad: tl.tensor,
    weight_h: tl.tensor,
    gates: tl.tensor,
    cells: tl.tensor,
    num_records: int,
    num_steps: int,
    hidden: int,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """From the last step to the first: the slopes in what each gate is a function of, in the gates' place."""
    direction, directions, last = tl.program_id(1), tl.num_programs(1), num_steps - 1
    dtype: tl.constexpr = weight_h.dtype.element_ty
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    units = tl.arange(0, WIDTH)[None, :]
    here = rows < num_records
    is_unit = here & (units < hidden)
    grad += (rows * num_steps * directions + direction) * hidden + units
    gates, cells = _own(gates, cells, rows, units, num_records, num_steps, WIDTH)
    h_i, h_f = _weights_back(weight_h, 0, 4, WIDTH), _weights_back(weight_h, 1, 4, WIDTH)
    h_g, h_o = _weights_back(weight_h, 2, 4, WIDTH), _weights_back(weight_h, 3, 4, WIDTH)

    dh, dc = tl.zeros((ROWS, WIDTH), tl.float32), tl.zeros((ROWS, WIDTH), tl.float32)
    time = last - direction * last
    kept = gates + time * 4 * WIDTH
    i, f, g, o = _load_gates(kept, here, WIDTH)
    slope = tl.load(grad + time * directions * hidden, mask=is_unit, other=0)
    c = tl.load(cells + num_steps * WIDTH, mask=here, other=0)
    before = tl.load(cells + last * WIDTH, mask=here, other=0)
    for back in range(num_steps):
        earlier = tl.maximum(last - 1 - back, 0)
        next_before = tl.load(cells + earlier * WIDTH, mask=here, other=0)
        earlier += direction * (last - 2 * earlier)
        next_kept = gates + earlier * 4 * WIDTH
        next_i, next_f, next_g, next_o = _load_gates(next_kept, here, WIDTH)
        next_slope = tl.load(grad + earlier * directions * hidden, mask=is_unit, other=0)
        i, f, g, o = i.to(tl.float32), f.to(tl.float32), g.to(tl.float32), o.to(tl.float32)
        tanh_c = _tanh(c)
        dh += slope
        dc += dh * o * (1 - tanh_c * tanh_c)
        d_i = (dc * g * i * (1 - i)).to(dtype)
        d_f = (dc * before * f * (1 - f)).to(dtype)
        d_g = (dc * i * (1 - g * g)).to(dtype)
        d_o = (dh * tanh_c * o * (1 - o)).to(dtype)
        _store_gates(kept, d_i, d_f, d_g, d_o, here, WIDTH)
        dh = tl.dot(d_o, h_o, tl.dot(d_g, h_g, tl.dot(d_f, h_f, tl.dot(d_i, h_i))))
        dc = dc * f
        c, before, kept, slope = before, next_before, next_kept, next_slope
        i, f, g, o = next_i, next_f, next_g, next_o


@triton.jit
def gru_forward(
    signal: tl.tensor,
    weight_x: tl.tensor,
    weight_h: tl.tensor,
    bias: tl.tensor,
    gates: tl.tensor,
    cells: tl.tensor,
    states: tl.tensor,
    num_records: int,
    num_steps: int,
    num_leads: int,
    hidden: int,
    INPUTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KEPT: tl.constexpr,
) -> None:
    """All states of a GRU; with `KEPT` also r, z, n, the state's part m of n, and the unrounded states."""
    direction, directions, last = tl.program_id(1), tl.num_programs(1), num_steps - 1
    dtype: tl.constexpr = weight_h.dtype.element_ty
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    units, leads = tl.arange(0, WIDTH)[None, :], tl.arange(0, INPUTS)[None, :]
    here = rows < num_records
    is_unit, is_lead = here & (units < hidden), here & (leads < num_leads)
    signal += rows * num_steps * num_leads + leads
    states += (rows * num_steps * directions + direction) * hidden + units
    gates, cells = _own(gates, cells, rows, units, num_records, num_steps, WIDTH)
    bias += direction * 4 * WIDTH + units
    x_r, h_r = _weights(weight_x, 0, 3, INPUTS, WIDTH), _weights(weight_h, 0, 3, WIDTH, WIDTH)
    x_z, h_z = _weights(weight_x, 1, 3, INPUTS, WIDTH), _weights(weight_h, 1, 3, WIDTH, WIDTH)
    x_n, h_m = _weights(weight_x, 2, 3, INPUTS, WIDTH), _weights(weight_h, 2, 3, WIDTH, WIDTH)
    b_r, b_z, b_n, b_m = _load_gates(bias, units >= 0, WIDTH)

    h = tl.zeros((ROWS, WIDTH), tl.float32)
    x = tl.load(signal + direction * last * num_leads, mask=is_lead, other=0).to(dtype)
    for step in range(num_steps):
        time = step + direction * (last - 2 * step)
        following = tl.minimum(step + 1, last)
        following += direction * (last - 2 * following)
        next_x = tl.load(signal + following * num_leads, mask=is_lead, other=0).to(dtype)
        if KEPT:
            tl.store(cells + step * WIDTH, h, mask=here)
        read = h.to(dtype)
        r = _sigmoid(tl.dot(read, h_r, tl.dot(x, x_r)) + b_r)
        z = _sigmoid(tl.dot(read, h_z, tl.dot(x, x_z)) + b_z)
        m = tl.dot(read, h_m) + b_m
        n = _tanh(tl.dot(x, x_n) + b_n + r * m)
        h = n + z * (h - n)
        tl.store(states + time * directions * hidden, h.to(dtype), mask=is_unit)
        if KEPT:
            kept = gates + time * 4 * WIDTH
            _store_gates(kept, r, z, n, m, here, WIDTH)
        x = next_x


@triton.jit
def gru_backward(
    grad: tl.tensor,
    weight_h: tl.tensor,
    gates: tl.tensor,
    cells: tl.tensor,
    num_records: int,
    num_steps: int,
    hidden: int,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """From the last step to the first: the slopes in what r, z, n and m are functions of, in their place."""
    direction, directions, last = tl.program_id(1), tl.num_programs(1), num_steps - 1
    dtype: tl.constexpr = weight_h.dtype.element_ty
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    units = tl.arange(0, WIDTH)[None, :]
    here = rows < num_records
    is_unit = here & (units < hidden)
    grad += (rows * num_steps * directions + direction) * hidden + units
    gates, cells = _own(gates, cells, rows, units, num_records, num_steps, WIDTH)
    h_r, h_z = _weights_back(weight_h, 0, 3, WIDTH), _weights_back(weight_h, 1, 3, WIDTH)
    h_m = _weights_back(weight_h, 2, 3, WIDTH)

    dh = tl.zeros((ROWS, WIDTH), tl.float32)
    time = last - direction * last
    kept = gates + time * 4 * WIDTH
    r, z, n, m = _load_gates(kept, here, WIDTH)
    slope = tl.load(grad + time * directions * hidden, mask=is_unit, other=0)
    before = tl.load(cells + last * WIDTH, mask=here, other=0)
    for back in range(num_steps):
        earlier = tl.maximum(last - 1 - back, 0)
        next_before = tl.load(cells + earlier * WIDTH, mask=here, other=0)
        earlier += direction * (last - 2 * earlier)
        next_kept = gates + earlier * 4 * WIDTH
        next_r, next_z, next_n, next_m = _load_gates(next_kept, here, WIDTH)
        next_slope = tl.load(grad + earlier * directions * hidden, mask=is_unit, other=0)
        r, z, n, m = r.to(tl.float32), z.to(tl.float32), n.to(tl.float32), m.to(tl.float32)
        dh += slope
        slope_n = dh * (1 - z) * (1 - n * n)
        d_n, d_m = slope_n.to(dtype), (slope_n * r).to(dtype)
        d_r = (slope_n * m * r * (1 - r)).to(dtype)
        d_z = (dh * (before - n) * z * (1 - z)).to(dtype)
        _store_gates(kept, d_r, d_z, d_n, d_m, here, WIDTH)
        dh = tl.dot(d_m, h_m, tl.dot(d_z, h_z, tl.dot(d_r, h_r, dh * z)))
        before, kept, slope = next_before, next_kept, next_slope
        r, z, n, m = next_r, next_z, next_n, next_m
