

x = Var(np.array([[0.5, -1.0]]))
W = Var(np.array([[1.0, 2.0], [3.0, 4.0]]))
loss = np.sum(np.tanh(x @ W))
loss.backward()
print("loss", loss.value)
print("x.grad", x.grad)
print("W.grad", W.grad)
