module go-front

go 1.24
